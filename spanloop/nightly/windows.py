"""Windows of minutes: nights as soon as enough episodes of the live model arrived, one after the other.

What a window trains on was sampled by the very model it trains: one pass with both signs (`--recipe window`) then
learns from every episode once, near the policy. After a change of weights the count begins anew, since it counts the
live model's episodes alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from etl.schema import Split, table_files
from foundation.errors import Busy, ExitStatus
from foundation.narration import get_logger
from spanloop.nightly.night import read_served
from spanloop.processes import StageFailed

log = get_logger("nightly")


def count_episodes(data: Path, version: str) -> int:
    """Count the rewarded episodes of the training split that a policy version answered, published so far."""
    import polars as pl

    files = table_files(data, "transitions")
    if not files:
        return 0
    rows = pl.scan_parquet(files, missing_columns="insert", extra_columns="ignore").filter(
        pl.col("split") == Split.TRAIN.value, pl.col("outcome").is_not_null(), pl.col("policy_version") == version
    )
    return int(rows.select(pl.struct("project", "episode_id").n_unique()).collect().item())


@dataclass
class Readiness:
    """Whether it is time for a window: enough new episodes of the live model, or time has passed and there are some."""

    data: Path
    episodes: int
    every_s: float | None
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)
    _seen: dict[str, int] = field(init=False, default_factory=dict)
    """Episodes of each version that a window has been made of: a refused one waits for as many more."""

    def __post_init__(self) -> None:
        self._began = self.clock()

    def __call__(self) -> bool:
        """Tell whether to go on to training; if so, the next window is counted from here."""
        registry = read_served(self.data)
        if registry is None:
            return False
        version = registry.live_version
        count = count_episodes(self.data, version)
        new = count - self._seen.get(version, 0)
        is_late = self.every_s is not None and self.clock() - self._began >= self.every_s
        if not (new >= self.episodes or (is_late and new > 0)):
            return False
        log.info("window", episodes=new, version=version)
        self._seen, self._began = {version: count}, self.clock()
        return True


def watch(
    window: Callable[[], bool], *, poll_s: float, windows: int | None, sleep: Callable[[float], None] = time.sleep
) -> int:
    """Run `window` again and again, which says whether it made a checkpoint, and return how many it made.

    What a gate refuses or somebody else holds is waited out; what failed ends it.
    """
    num_made = num_refused = 0
    while windows is None or num_made + num_refused < windows:
        try:
            made = window()
        except StageFailed as error:
            if error.exit_status not in (ExitStatus.REFUSED, ExitStatus.BUSY):
                raise
            num_refused += error.exit_status is ExitStatus.REFUSED
            log.warning("window refused" if error.exit_status is ExitStatus.REFUSED else "busy", reason=error.message)
            made = False
        except Busy as error:
            log.warning("busy", reason=error.message)
            made = False
        num_made += made
        if not made:
            sleep(poll_s)
    return num_made
