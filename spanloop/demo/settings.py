"""The settings of the demo."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from foundation.settings import Settings

TaskName = Literal["calculator", "spider", "musique", "calcx"]


class DemoConfig(Settings):
    """Settings of the demo. The defaults fit two cores and fifteen minutes."""

    task: TaskName = "calculator"
    """What the agent does: sums with a calculator, by a policy that comes with the repository; or one of three
    benchmarks by a small pretrained model (docs/tasks.md), which need data sets, `make model`, and more time."""

    data: Path | None = None
    """Directory everything is kept in. Default: a new one below demo-data, named by the time; for a benchmark
    demo-data/TASK-SEED, and a run that was interrupted goes on there."""

    quick: bool = False
    """Fewer nights and episodes: at most three minutes; of a benchmark about an hour on two cores."""

    engine: Literal["auto", "vllm", "embedded"] = "auto"
    """What runs the model: vLLM, the embedded engine, or vLLM where it is installed."""

    nights: int | None = Field(default=None, ge=0)
    """Number of nights. Default: 4, after which each of five seeds stood above 0.75 (docs/log.md); quick: 2. Of a
    benchmark windows of minutes: 24; quick: 4."""

    problems: int | None = Field(default=None, ge=8)
    """Problems tried each night. Default: 256; quick: 160; of a benchmark 16."""

    attempts: int | None = Field(default=None, ge=2)
    """Attempts at each problem of a night; each is compared with the others. Default: 2, as many problems teach more
    than many attempts (docs/training.md); of a benchmark 8."""

    heldout: int | None = Field(default=None, ge=8)
    """Held-out problems, tried before the first night and after the last. Default: 256; quick: 240; of a benchmark 320
    and 200, twice each at temperature 1, and once at 0."""

    concurrency: int = Field(default=32, ge=1)
    """Episodes under way at once."""

    datasets: Path = Path("../shared/datasets")
    """Of a benchmark: directory of the data sets."""

    model: Path = Path("build/models/smollm2-135m-instruct")
    """Of a benchmark: the model that is taught to begin (`make model`), or with `--no-warm` begins as it is."""

    warm: bool = True
    """Of a benchmark: let the model imitate some gold answers of the train split first, once for all runs."""

    full: bool = False
    """Of a benchmark: the whole task, instead of the part a small model can begin with."""

    coin: float | None = Field(default=None, ge=0, le=1)
    """Of a benchmark: a control, in which the reward is 1 with this probability whatever was answered."""

    page: bool = False
    """Show what came of it in a browser, until Ctrl-C."""

    seed: int = 0
    """Chooses the problems."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Nights, problems a night and held-out problems, defaults filled in."""
        if self.task == "calculator":
            nights, problems, heldout = (2, 160, 240) if self.quick else (4, 256, 256)
        else:
            nights, problems, heldout = (4, 16, 200) if self.quick else (24, 16, 320)
        return nights if self.nights is None else self.nights, self.problems or problems, self.heldout or heldout

    @property
    def attempts_each(self) -> int:
        """Attempts at each problem, the default filled in."""
        return self.attempts or (2 if self.task == "calculator" else 8)
