"""Settings of a night."""

import shlex
from pathlib import Path

from pydantic import Field, field_validator

from foundation.settings import DEFAULT_DATA, Settings


class NightlyConfig(Settings):
    """Settings of one night. Every stage reads its own settings from the environment and spanloop.toml as ever."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything: spans, dataset, checkpoints, registry."""

    model: Path | None = None
    """Model to train further, a directory or the id of a downloaded one. Default: the live checkpoint of the registry.
    Whichever it is, what comes of it is compared with what is live."""

    student: Path | None = None
    """Student of a hosted model, a directory or the id of a downloaded one. A night is then ETL, distillation of what
    is new (`spanloop distill`) and replay (`spanloop replay`), and goes on from the student of the night before.
    Nothing needs to be served; where a gateway runs, a student that is not refused is tried as a canary."""

    agents: tuple[str, ...] = ()
    """Of a student: the agents whose calls are imitated, separated by commas. Default: as `spanloop distill` is set."""

    out: Path | None = None
    """Where checkpoints go. Default: DATA/checkpoints."""

    canary: bool = False
    """Try the checkpoint on a share of the calls (`spanloop serve canary`) instead of making it live at once. Needs a
    running gateway; while the canary of another night is under way, status 75, and the next run goes on from there.
    A checkpoint of which the held-out calls say too little is tried so anyway, where a gateway runs."""

    margin: float = Field(default=0.1, gt=0, lt=1)
    """Margin of non-inferiority of such a canary: it gets all calls once it is known to earn no less than this below
    the live model, as a part of the reward's range."""

    pause: bool = False
    """Have the gateway give its device up while the night trains and evaluates (`spanloop serve pause`): for one GPU
    that does both. Its calls get 503 with Retry-After meanwhile, or the hosted model's answer where there is one."""

    launch: str | None = None
    """Launcher of the training, with its arguments: `accelerate launch --config_file FILE`, `torchrun --nproc-per-node
    8`, `srun torchrun …`. `-m spanloop train run …` is appended, or stands where the line has {}. Default: this process
    starts it. Whatever runs it has to see DATA under the same path."""

    keep: int | None = Field(default=None, ge=1)
    """Newest checkpoints to keep once a night is promoted, beside whatever is live, may be rolled back to, is being
    tried or is an adapter's base. Of the others the weights are removed. Default: all are kept."""

    watch: bool = False
    """Go on for ever: a window of training as soon as enough episodes of the live model arrived, and again."""

    episodes: int = Field(default=128, ge=1)
    """With `watch`: new rewarded episodes of the live model that make a window."""

    every_s: float | None = Field(default=None, gt=0)
    """With `watch`: seconds after which fewer make one too. Default: never."""

    windows: int | None = Field(default=None, ge=1)
    """With `watch`: end after this many windows. Default: never."""

    poll_s: float = Field(default=10, gt=0)
    """With `watch`: seconds between looks at what arrived."""

    warm: bool = True
    """With `watch`: keep a process that has imported everything, of which every stage is a fork."""

    @field_validator("launch")
    @classmethod
    def _can_be_split(cls, value: str | None) -> str | None:
        if value is not None and not shlex.split(value):  # raises ValueError for a quotation without an end
            raise ValueError("it names no program")
        return value

    @field_validator("agents", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        names = [value] if isinstance(value, str) else value
        if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
            return tuple(part.strip() for name in names for part in name.split(",") if part.strip())
        return value
