"""Settings of the commands about prompts."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from foundation.settings import DEFAULT_DATA, Settings
from serve.settings import CanaryConfig


class PromptConfig(Settings):
    """Settings of the commands that read or change which version of a prompt is live."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything: spans, dataset, checkpoints, registry."""

    agent: str
    """Name of the agent, as its spans or its base URL have it."""


class KeepConfig(PromptConfig):
    """Settings of keeping a version."""

    base: Path | None = None
    """File with the system message the agent sends, and `{{name}}` where it changes from call to call. Needed with the
    first version, and when the agent's own message changed."""

    exact: bool = False
    """Take `{{name}}` for what stands there, and no hole."""

    origin: Literal["file", "optimise"] = "file"
    """Who wrote it."""

    parent: int | None = None
    """Version it was made from. Default: the live one."""

    report: Path | None = None
    """JSON file with what was measured of it."""


class PromptCanaryConfig(PromptConfig, CanaryConfig):
    """Settings of trying a version on a share of the calls."""
