"""Settings of the ETL's commands."""

from datetime import datetime
from pathlib import Path

from pydantic import Field

from foundation.settings import DEFAULT_DATA, Settings
from otel_exporter.schema import OUTCOME


class EtlConfig(Settings):
    """Settings of one ETL run."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything: spans, dataset, checkpoints, registry."""

    since: datetime | None = None
    """Process spans received at this instant or later, UTC. Default: from the watermark on."""

    until: datetime | None = None
    """Process spans received before this instant, UTC. Default: everything there is."""

    complete_after: float = Field(default=900.0, ge=0)
    """Seconds without a new span after which a trace is taken as it is, complete or not; 0 takes all at once."""

    outcome: str = OUTCOME
    """Name of the reward that says how an episode ended. Where no reward has it, the only one on the root counts."""

    tool_error: float = Field(default=-0.1, ge=-1, le=0)
    """Reward of an action for each of its tool calls that ended in an error."""

    outcome_gap: float = Field(default=1.0, gt=0)
    """Smallest difference between two outcomes that must never be bridged: intermediate rewards of an episode are
    scaled to stay below half of it, so they cannot make a failure look better than a success."""

    discount: float = Field(default=1.0, gt=0, le=1)
    """Factor per step between a reward and the return of an earlier step."""

    holdout: float = Field(default=0.1, ge=0, lt=1)
    """Share of tasks, by hash of the task id, kept out of training."""

    own_models: list[str] = Field(default_factory=list)
    """Beginnings of model names that are ours, so their text counts as evidence C rather than D."""
