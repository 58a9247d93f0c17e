"""Settings of a distillation."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter
from pydantic import Field, SecretStr, field_validator

from foundation.settings import DEFAULT_DATA, Settings

NEEDED = Parameter(group=Group("What people need", sort_key=0))
CHOICE = Parameter(group=Group("Which calls", sort_key=1))
TEACHING = Parameter(group=Group("How the student is taught", sort_key=2))


class DistillConfig(Settings):
    """Settings of one distillation."""

    data: Annotated[Path, NEEDED] = DEFAULT_DATA
    """Directory that holds everything; read are its published transitions."""

    agent: Annotated[tuple[str, ...], NEEDED] = ()
    """Names of the agents whose calls are imitated, with * and ?, separated by commas. Default: all."""

    model: Annotated[Path | None, NEEDED] = None
    """Student: a model directory, a checkpoint, or the id of a downloaded model. With --dry-run it may be left out: the
    models of --students are then ranked."""

    students: Annotated[tuple[Path, ...], NEEDED] = ()
    """Candidates to rank, separated by commas. Default: the model that is named, else every model in the Hugging Face
    cache."""

    out: Annotated[Path | None, NEEDED] = None
    """Where the checkpoint directory appears. Default: DATA/checkpoints."""

    since: Annotated[datetime | None, CHOICE] = None
    """Only episodes that began at or after this instant. Default: no limit."""

    again: Annotated[bool, CHOICE] = False
    """Imitate once more what the student, or a checkpoint it comes from, was taught. By default only what is new."""

    threshold: Annotated[float | None, CHOICE] = None
    """Least outcome of an episode whose calls are imitated. Default: 0.5 where all outcomes lie between 0 and 1; on any
    other scale somebody has to say."""

    judge: Annotated[str | None, CHOICE] = None
    """Base URL of an OpenAI-compatible API whose model judges calls of episodes without outcome, 0 to 1; those from
    `judge_threshold` on are imitated. It is asked of what form and signals leave. Default: these alone decide."""

    judge_model: Annotated[str | None, CHOICE] = None
    """Name of the judge's model."""

    judge_threshold: Annotated[float, CHOICE] = Field(default=0.8, ge=0, le=1)
    """Least judgement of a call that is imitated."""

    judge_api_key: Annotated[SecretStr | None, CHOICE] = None
    """Key of the judge. Set it as SPANLOOP_DISTILL_JUDGE_API_KEY."""

    max_per_task: Annotated[int, CHOICE] = Field(default=4, ge=1)
    """Most episodes of one task: what is asked every day would drown the rest."""

    prune: Annotated[bool, CHOICE] = False
    """Leave out the system message where every call has the same. The student then knows it by heart, and is to be
    served with a gateway that leaves it out too."""

    min_calls: Annotated[int, CHOICE] = Field(default=64, ge=1)
    """Refuse to teach by fewer calls."""

    wait: Annotated[bool, CHOICE] = False
    """End with status 0 and no checkpoint where there is too little to imitate: for what comes again every night."""

    adapter: Annotated[Literal["none", "lora"] | None, TEACHING] = None
    """All weights (`none`) or a LoRA. Default: a LoRA from 100 million weights on."""

    lora_rank: Annotated[int, TEACHING] = Field(default=32, ge=1)
    """Rank of the adapter."""

    merge: Annotated[bool, TEACHING] = False
    """Publish an adapter merged into its base."""

    learning_rate: Annotated[float | None, TEACHING] = Field(default=None, gt=0)
    """Largest learning rate. Default: four times that of `train run`, by the model's width."""

    epochs: Annotated[int, TEACHING] = Field(default=30, ge=1)
    """Most passes over the calls; the hold-out ends them earlier."""

    patience: Annotated[int, TEACHING] = Field(default=2, ge=1)
    """Passes without a lower held-out loss after which teaching ends; kept are the weights of the lowest."""

    budget_s: Annotated[float | None, TEACHING] = Field(default=None, gt=0)
    """Seconds of teaching after which it ends at the best so far. Default: no limit."""

    calls_per_update: Annotated[int, TEACHING] = Field(default=32, ge=1)
    """Calls in one step of the optimiser."""

    max_memory: Annotated[float | None, TEACHING] = Field(default=None, gt=0)
    """Memory of the device a run may take, GiB. Default: what is free."""

    seed: Annotated[int, TEACHING] = 0
    """Seed of the order of calls."""

    @field_validator("agent", "students", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        names = [value] if isinstance(value, str) else value
        if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
            return tuple(part.strip() for name in names for part in name.split(",") if part.strip())
        return value
