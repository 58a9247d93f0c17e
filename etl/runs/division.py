"""A run that several processes share, none of which knows of the others: the plan on disk, and what is done of it.

    DATA/dataset/division/plan.json            window, settings, number of shares; written once, by whoever comes first
    DATA/dataset/division/traces.parquet       which traces are in which bucket
    DATA/dataset/division/done-<bucket>.json   what came of a bucket; its rows are in parts nobody has published yet

Bucket b belongs to share b modulo n. A share that is started again goes on where it ended.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from etl.published.window import Window, Windows
from etl.runs.buckets import Bucket
from etl.runs.plan import Plan
from etl.runs.work import Processed
from etl.settings import EtlConfig
from foundation.errors import Busy, SettingsError, SpanloopError
from foundation.files import exclusive, write_atomically, write_json

NOT_SHARED = {"data", "bucket", "workers", "ray"}
"""Settings that may differ between the shares of one run."""

PATIENCE_S = 600.0
"""How long to wait for another share that is making the plan."""


@dataclass(frozen=True, slots=True)
class Division:
    """The plan of a divided run, and how it is divided."""

    plan: Plan
    num_shares: int
    settings: dict[str, Any]

    def share(self, number: int) -> dict[int, Bucket]:
        """Return the buckets of one share, by number."""
        own = enumerate(self.plan.buckets)
        return {bucket: value for bucket, value in own if bucket % self.num_shares == number}


def directory(data: Path) -> Path:
    """Return where a divided run keeps its plan."""
    return data / "dataset" / "division"


def parse_share(text: str) -> tuple[int, int]:
    """Return which of how many shares is meant.

    >>> parse_share("0/4")
    (0, 4)
    """
    number, _, total = text.partition("/")
    if int(number) >= int(total):
        raise SettingsError(f"--bucket {text}: there is no such share", hint=f"Shares are 0/{total} to {_last(total)}.")
    return int(number), int(total)


def _last(total: str) -> str:
    return f"{int(total) - 1}/{total}"


def shared_settings(config: EtlConfig) -> dict[str, Any]:
    """Return the settings that all shares of a run must have alike."""
    return config.model_dump(mode="json", exclude=NOT_SHARED)


def join(config: EtlConfig, num_shares: int, make: Callable[[], Plan]) -> Division:
    """Return the division of this run: the one that another share made, else a new one from the plan `make` makes."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        division = load(config.data)
        if division is not None:
            return _checked(division, config, num_shares)
        try:
            with exclusive(config.data / "dataset" / "lock", purpose="spanloop etl run --bucket"):
                if not _plan_path(config.data).exists():
                    _save(config.data, Division(make(), num_shares, shared_settings(config)))
        except Busy:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _checked(division: Division, config: EtlConfig, num_shares: int) -> Division:
    hint = "Give every share the same, or give the divided run up: a run without --bucket does."
    if division.num_shares != num_shares:
        raise SettingsError(
            f"--bucket {config.bucket}: the run under way is divided into {division.num_shares} shares", hint=hint
        )
    own = shared_settings(config)
    different = sorted(name for name in own if own[name] != division.settings.get(name))
    if different:
        raise SettingsError(f"other shares of this run have another {', '.join(different)}", hint=hint)
    return division


def _plan_path(data: Path) -> Path:
    return directory(data) / "plan.json"


def _save(data: Path, division: Division) -> None:
    plan = division.plan
    rows = [(number, *trace) for number, bucket in enumerate(plan.buckets) for trace in sorted(bucket.traces)]
    schema = {"bucket": pl.Int64, "project": pl.String, "trace_id": pl.String}
    directory(data).mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(directory(data) / "traces.parquet")
    head = {
        "num_shares": division.num_shares,
        "settings": division.settings,
        "since_seq": plan.window.since_seq,
        "until_seq": plan.window.until_seq,
        "each": list(plan.window.each) if isinstance(plan.window, Windows) else [],
        "reached": plan.reached,
        "processed": plan.processed,
        "is_new": plan.is_new,
        "now_us": plan.now_us,
        "pending": [list(trace) for trace in sorted(plan.pending)],
        "buckets": [[own.first_seq, own.last_seq, own.num_spans, own.num_bytes] for own in plan.buckets],
    }
    write_json(_plan_path(data), head)


def load(data: Path) -> Division | None:
    """Return the division of the run under way; None when there is none."""
    try:
        head = orjson.loads(_plan_path(data).read_bytes())
    except FileNotFoundError:
        return None
    buckets = [Bucket(set(), *numbers) for numbers in head["buckets"]]
    for number, project, trace_id in pl.read_parquet(directory(data) / "traces.parquet").iter_rows():
        buckets[number].traces.add((project, trace_id))
    plan = Plan(
        _window(head),
        head["processed"],
        head["is_new"],
        {(project, trace_id) for project, trace_id in head["pending"]},
        head["now_us"],
        buckets,
        head.get("reached", {}),
    )
    return Division(plan, head["num_shares"], head["settings"])


def _window(head: dict[str, Any]) -> Window:
    """Return the window of a plan; one of an earlier release says nothing of several receivers."""
    if each := head.get("each"):
        return Windows(head["since_seq"], head["until_seq"], tuple((first, last) for first, last in each))
    return Window(head["since_seq"], head["until_seq"])


def done_path(data: Path, bucket: int) -> Path:
    """Return the path of what came of a bucket."""
    return directory(data) / f"done-{bucket:06d}.json"


def keep(data: Path, bucket: int, processed: Processed) -> None:
    """Keep what came of a bucket."""
    if not _plan_path(data).exists():
        raise SpanloopError(
            f"{_plan_path(data)} is gone: another run has taken over, or published without this share",
            hint="Nothing of this share counts. Start the divided run again if it should.",
        )
    write_atomically(done_path(data, bucket), processed.to_json())


def results(data: Path, division: Division) -> list[Processed]:
    """Return what came of every bucket; raise when one is not done."""
    missing = [number for number in range(len(division.plan.buckets)) if not done_path(data, number).exists()]
    if missing:
        shares = sorted({number % division.num_shares for number in missing})
        names = ", ".join(f"{share}/{division.num_shares}" for share in shares)
        raise SpanloopError(
            f"{len(missing)} of {len(division.plan.buckets)} buckets are not done",
            hint=f"Run these shares, again if they failed: --bucket {names}",
        )
    return [Processed.from_json(done_path(data, number).read_bytes()) for number in range(len(division.plan.buckets))]


def discard(data: Path) -> bool:
    """Remove the division, the plan first; tell whether there was one."""
    was_there = _plan_path(data).exists()
    _plan_path(data).unlink(missing_ok=True)
    shutil.rmtree(directory(data), ignore_errors=True)
    return was_there
