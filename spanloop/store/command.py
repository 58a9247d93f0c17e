"""`spanloop store push | list | verify | prune | pull`."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from foundation.errors import SpanloopError
from foundation.narration import get_logger
from foundation.report import RunReport
from foundation.settings import DEFAULT_DATA
from foundation.store.opening import require_store
from spanloop.processes import run_stage

app = App(name="store", help="Days, tables, checkpoints and reports in a store that machines share.")

log = get_logger("store")


@app.command
def push(
    *,
    data: Path = DEFAULT_DATA,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Write what the store has not yet: sealed days, published tables, checkpoints, reports.

    Everything may run meanwhile. Ended half-way, by whatever, it leaves every pointer whole, and the next one goes on.

    Example: spanloop store push --data spanloop-data --store s3://bucket/spanloop

    Parameters
    ----------
    data
        Directory that keeps everything.
    dry_run
        Say what would be written, and write nothing.
    as_json
        Print the report on stdout.
    """
    from spanloop.store.checkpoints import push_checkpoints, push_reports

    store = require_store()
    report = RunReport("store push", {"data": str(data), "store": store.url, "dry_run": dry_run})
    days = run_stage("receiver", "push", "--data", str(data), *(["--dry-run"] if dry_run else []))
    files = 0
    if (data / "dataset" / "watermark.json").exists() and not dry_run:
        files = run_stage("etl", "push", "--data", str(data))["files"]
    report.update(
        days=days["days"],
        rows=days["rows"],
        dataset_files=files,
        checkpoints=push_checkpoints(data, store, dry_run=dry_run),
        reports=push_reports(data, store, dry_run=dry_run),
    )
    if as_json:
        report.print()


@app.command(name="list")
def list_() -> None:
    """List what the store holds, one JSON object a pointer: the dataset, each day of each receiver, each checkpoint.

    Example: spanloop store list --store s3://bucket/spanloop
    """
    from spanloop.store.holdings import holdings

    for one in holdings(require_store()):
        shown = {"what": one.what, "key": one.key, "files": one.num_files, "bytes": one.num_bytes}
        facts = {key: one.facts[key] for key in ("day", "receiver", "rows", "commit") if key in one.facts}
        sys.stdout.write(json.dumps({**shown, **facts}) + "\n")


@app.command
def verify(
    *,
    deep: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Say whether every file that counts is there as it was written; status 1 names what is not.

    Example: spanloop store verify --store s3://bucket/spanloop --deep

    Parameters
    ----------
    deep
        Read every file and compare its digest. Default: that it is there, and its size.
    as_json
        Print the report on stdout.
    """
    from spanloop.store.holdings import leftovers
    from spanloop.store.holdings import verify as find_faults

    store = require_store()
    report = RunReport("store verify", {"store": store.url, "deep": deep})
    found = find_faults(store, deep=deep)
    report.update(faults=found, leftovers=len(leftovers(store)))
    for fault in found:
        log.error("damaged", fault=fault)
    if as_json:
        report.print()
    if found:
        raise SpanloopError(f"{len(found)} files of {store.url} are not what they should be: {found[0]}")


@app.command
def prune(
    *,
    retain_days: Annotated[int, Parameter(validator=validators.Number(gte=2))],
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Remove the days of all receivers that are older than some days, and print them; tables and checkpoints stay.

    Keep at least what receivers keep: a day that is still there is pushed again.

    Example: spanloop store prune --store s3://bucket/spanloop --retain-days 365 --dry-run

    Parameters
    ----------
    retain_days
        Remove a day this many days after it.
    dry_run
        Say what would be removed, and remove nothing.
    """
    from spanloop.store.retention import expired

    store = require_store()
    for day, keys in expired(store, today=datetime.now(UTC).date(), retain_days=retain_days).items():
        for key in () if dry_run else keys:
            store.remove(key)
        sys.stdout.write(f"{day}\n")


@app.command
def pull(
    *,
    data: Path = DEFAULT_DATA,
    checkpoint: tuple[str, ...] = (),
    tables: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Bring checkpoints, or the published tables, from the store to this machine.

    Example: spanloop store pull --data spanloop-data --store s3://bucket/spanloop --tables --checkpoint night-7

    Parameters
    ----------
    data
        Directory that keeps everything.
    checkpoint
        Name of a checkpoint; repeat for several.
    tables
        Bring DATA/dataset to what the store says is published.
    as_json
        Print the report on stdout.
    """
    from spanloop.store.checkpoints import pull_checkpoint

    store = require_store()
    report = RunReport("store pull", {"data": str(data), "store": store.url})
    if tables:
        report.update(dataset_files=run_stage("etl", "pull", "--data", str(data))["files"])
    report.update(checkpoints=[str(pull_checkpoint(data, store, name)) for name in checkpoint])
    if as_json:
        report.print()
