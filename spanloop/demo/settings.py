"""The settings of the demo."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from foundation.settings import Settings


class DemoConfig(Settings):
    """Settings of the demo. The defaults fit two cores and fifteen minutes."""

    data: Path | None = None
    """Directory everything is kept in. Default: a new one below demo-data, named by the time."""

    quick: bool = False
    """Fewer nights and episodes: at most three minutes."""

    engine: Literal["auto", "vllm", "embedded"] = "auto"
    """What runs the model: vLLM, the embedded engine, or vLLM where it is installed."""

    nights: int | None = Field(default=None, ge=1)
    """Number of nights. Default: 4; quick: 2."""

    problems: int | None = Field(default=None, ge=8)
    """Problems tried each night. Default: 256; quick: 160."""

    attempts: int = Field(default=2, ge=2)
    """Attempts at each problem of a night; each is compared with the others. Many problems teach more than many
    attempts (docs/training.md)."""

    heldout: int | None = Field(default=None, ge=32)
    """Held-out problems, tried once before the first night and once after the last. Default: 256; quick: 240."""

    concurrency: int = Field(default=32, ge=1)
    """Episodes under way at once."""

    seed: int = 0
    """Chooses the problems."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Nights, problems a night and held-out problems, defaults filled in."""
        nights, problems, heldout = (2, 160, 240) if self.quick else (4, 256, 256)
        return self.nights or nights, self.problems or problems, self.heldout or heldout
