"""Commands of the receiver: run, import, status, backup, verify, prune, push, and keys create, list, revoke.

Each imports what it needs when it runs: asking for help, or for the status, starts no server.
"""

import asyncio
import contextlib
import json as json_
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from foundation.directories import check_directory, require_directory
from foundation.errors import SettingsError, SpanloopError
from foundation.named_traces import read_traces
from foundation.narration import get_logger
from foundation.report import RunReport
from foundation.settings import DEFAULT_DATA, Redaction
from foundation.store.opening import require_store
from foundation.web import places
from foundation.web.http import answers
from foundation.web.keys import Scope, create_key, read_keys, register_key, revoke_key
from otel_exporter.redaction import build
from receiver.reading.find import find_receiver
from receiver.reading.opening import reading
from receiver.settings import ReceiverConfig
from receiver.store.lock import hold, keep_out_writers

app = App(name="receiver", help="OTLP in, DuckDB out.")

log = get_logger("receiver")


@app.command
def run(*, config: Annotated[ReceiverConfig, Parameter(name="*")] = ReceiverConfig()) -> None:
    """Take OTLP traces and logs over gRPC and HTTP, store them durably and answer SQL.

    Example: spanloop receiver run --data spanloop-data --grpc 127.0.0.1:4317 --http 127.0.0.1:4318
    """
    from receiver.service import serve

    asyncio.run(serve(config))


@app.command(name="import")
def import_(
    *files: Path,
    data: Path = DEFAULT_DATA,
    redaction: Annotated[Redaction, Parameter(name="*")] = Redaction(),
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Store recorded export requests: OTLP protobuf (`.pb`, logs `.logs.pb`) or JSON (`.json`, `.jsonl`).

    Importing the same files again changes nothing. A running receiver takes them; without one they go into DATA
    directly.

    Example: spanloop receiver import --data spanloop-data recorded/*.pb

    Parameters
    ----------
    files
        Files to import.
    data
        Directory that keeps everything.
    json
        Print the run report on stdout.
    """
    from receiver.intake.importing import import_files

    report = RunReport("receiver import", {"data": str(data), "files": [str(path) for path in files]})
    with report.phase("import"):
        counts = import_files(data, files, redaction.redactor(build))
    report.update(**counts)
    log.info("imported", **counts)
    if json:
        report.print()


@app.command
def status(*, data: Path = DEFAULT_DATA, json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """Say whether a receiver holds DATA and what is stored there.

    Example: spanloop receiver status --data spanloop-data

    Parameters
    ----------
    data
        Directory that keeps everything.
    json
        Print the run report on stdout.
    """
    report = RunReport("receiver status", {"data": str(data)})
    if not check_directory(data):
        log.warning("there is no such directory", data=str(data))
    where = find_receiver(data)
    with reading(data) as reader:
        stored = reader.query(
            """
            select
                (select count(*) from spans) as spans,
                (select count(*) from traces) as traces,
                (select count(*) from log_records) as log_records,
                (select max(received_time)::varchar from spans) as last_received_time
            """
        ).to_pylist()[0]
    shown = {
        "running": where is not None,
        **({key: where.get(key) for key in ("pid", "grpc", "http", "started_time")} if where else {}),
        "ready": where is not None and answers(f"{where['http']}/readyz", timeout_s=5),
        **stored,
    }
    report.update(**shown)
    if json:
        report.print()
        return
    for key, value in shown.items():
        sys.stdout.write(f"{key:20}{'-' if value is None else value}\n")


@app.command
def backup(
    *, out: Path, data: Path = DEFAULT_DATA, json: Annotated[bool, Parameter(name="--json", negative="")] = False
) -> None:
    """Copy the spans and keys into a new directory, which is a DATA directory itself; a receiver may run meanwhile.

    Everything acknowledged before is in it. To restore, use the directory as --data.

    Example: spanloop receiver backup --data spanloop-data --out backups/monday

    Parameters
    ----------
    out
        Directory to make.
    data
        Directory that keeps everything.
    json
        Print the run report on stdout.
    """
    from receiver.reading.backup import back_up_data

    report = RunReport("receiver backup", {"data": str(data), "out": str(out)})

    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was begun is removed
    try:
        num_days = back_up_data(data, out)
    finally:
        signal.signal(signal.SIGTERM, before)
    log.info("backed up", out=str(out), days=num_days)
    report.update(days=num_days)
    if json:
        report.print()


@app.command
def verify(*, data: Path = DEFAULT_DATA) -> None:
    """Read every block of the day files and the log, and name what is damaged; status 1 when anything is.

    No receiver may run on DATA. Verify a backup to check it.

    Example: spanloop receiver verify --data backups/monday

    Parameters
    ----------
    data
        Directory that keeps everything.
    """
    from receiver.days.verification import verify as damages_of

    require_directory(data)
    with keep_out_writers(data):
        damages = list(damages_of(data))
    for damage in damages:
        sys.stdout.write(f"{damage.path}: {damage.problem}\n")
    if damages:
        raise SpanloopError(f"{data}: {len(damages)} problems", hint="Restore what is lost from a backup.")
    log.info("sound", data=str(data))


@app.command
def prune(
    *,
    data: Path = DEFAULT_DATA,
    retain_days: Annotated[int | None, Parameter(validator=validators.Number(gte=2))] = None,
    retain_gb: Annotated[float | None, Parameter(validator=validators.Number(gt=0, lt=float("inf")))] = None,
    dry_run: bool = False,
) -> None:
    """Remove the oldest sealed days, by age or until the rest fits. A running receiver does so by its own settings.

    Example: spanloop receiver prune --data spanloop-data --retain-days 90 --dry-run

    Parameters
    ----------
    data
        Directory that keeps everything.
    retain_days
        Remove a day's file this many days after the day.
    retain_gb
        Remove the oldest days while the files are larger than this many GiB.
    dry_run
        Say what would be removed, and remove nothing.
    """
    from receiver.days import retention
    from receiver.days.files import day_of
    from receiver.pipeline import Pipeline

    require_directory(data)
    retain_bytes = None if retain_gb is None else int(retain_gb * 2**30)
    with contextlib.ExitStack() as stack:
        today = day_of(time.time_ns())
        if dry_run:
            stack.enter_context(hold(data, "spanloop receiver prune"))
        else:  # opened as a receiver would: what the log still holds lands first and does not come back later
            pipeline = stack.enter_context(contextlib.closing(Pipeline(data, purpose="spanloop receiver prune")))
        days = retention.expired(data, today=today, retain_days=retain_days, retain_bytes=retain_bytes)
        sys.stdout.writelines(f"{day.isoformat()}\n" for day in days)
        if not dry_run:
            pipeline.store.retire(days)


@app.command
def forget(
    *,
    traces: Path,
    data: Path = DEFAULT_DATA,
    dry_run: bool = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Remove traces from everything the receiver keeps, and from the days of the store where one is named.

    `spanloop forget` finds them, and runs this.

    Example: spanloop receiver forget --data spanloop-data --traces traces.json

    Parameters
    ----------
    traces
        JSON file: {"traces": [[project, trace id], …], "names": [response, episode or session id, …]}.
    data
        Directory that keeps everything.
    dry_run
        Count, and remove nothing.
    as_json
        Print the run report on stdout.
    """
    from receiver.days.forgetting import forget as forget_traces
    from receiver.pipeline import Pipeline

    require_directory(data)
    named, names = read_traces(traces)
    report = RunReport("receiver forget", {"data": str(data), "dry_run": dry_run})
    if not dry_run:  # what the log still holds lands first, and the log ends empty
        Pipeline(data, purpose="spanloop receiver forget").close()
    with hold(data, "spanloop receiver forget"):
        report.update(**forget_traces(data, named, names, dry_run=dry_run))
    if places.store() is not None:
        from receiver.reading.erasing import erase

        erased = erase(data, require_store(), named, names, dry_run=dry_run)
        report.update(**{f"stored_{table}": number for table, number in erased.items()})
    if as_json:
        report.print()


@app.command
def push(
    *,
    data: Path = DEFAULT_DATA,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Write the sealed days that the store has not yet; a receiver may run meanwhile.

    Example: spanloop receiver push --data spanloop-data --store s3://bucket/spanloop

    Parameters
    ----------
    data
        Directory that keeps everything.
    dry_run
        Name the days, and write nothing.
    json
        Print the run report on stdout.
    """
    from receiver.reading.archive import push_days

    require_directory(data)
    store = require_store()
    report = RunReport("receiver push", {"data": str(data), "store": store.url, "dry_run": dry_run})
    with report.phase("push"):
        report.update(**push_days(data, store, dry_run=dry_run))
    if json:
        report.print()


keys = App(name="keys", help="API keys: who may send spans, query, and give rewards.")
app.command(keys)


@keys.command(name="create")
def create(
    *,
    data: Path = DEFAULT_DATA,
    name: str,
    project: str = "default",
    scope: tuple[Scope, ...] = (Scope.INGEST,),
    text_file: Path | None = None,
) -> None:
    """Make a key and print it, this once. Two of a name may live at once, so that one can replace the other.

    Example: spanloop receiver keys create --data spanloop-data --name agents --project shop --scope ingest

    Parameters
    ----------
    data
        Directory that keeps everything.
    name
        What the key is for.
    project
        Project that everything sent with it belongs to, and that queries with it see.
    scope
        What it may do; repeat for several.
    text_file
        File with the text of a key that was made elsewhere, such as a mounted secret: it is let in, and nothing is
        printed. Doing so again changes nothing.
    """
    check_directory(data)
    if text_file is not None:
        key = register_key(data, _read_text(text_file), name=name, project=project, scopes=list(scope))
        log.info("known", id=key.id, name=key.name)
        return
    try:
        text = create_key(data, name=name, project=project, scopes=list(scope))
    except OSError as error:
        raise SettingsError(
            f"{data} cannot be written: {error.strerror}", hint="Run as the receiver's user."
        ) from error
    sys.stdout.write(text + "\n")


def _read_text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None


@keys.command(name="list")
def list_(*, data: Path = DEFAULT_DATA) -> None:
    """List the keys, without their secrets, as one JSON object a line.

    Example: spanloop receiver keys list --data spanloop-data

    Parameters
    ----------
    data
        Directory that keeps everything.
    """
    require_directory(data)
    for key in read_keys(data):
        shown = {"id": key.id, "name": key.name, "project": key.project, "scopes": key.scopes}
        sys.stdout.write(json_.dumps({**shown, "created_time": key.created_time}) + "\n")


@keys.command
def revoke(id_: Annotated[str, Parameter(name="id")], *, data: Path = DEFAULT_DATA) -> None:
    """Make a key worthless at once, also in a running receiver.

    Example: spanloop receiver keys revoke 1f0c9a2b --data spanloop-data

    Parameters
    ----------
    id_
        Id of the key, as listed.
    data
        Directory that keeps everything.
    """
    require_directory(data)
    key = revoke_key(data, id_)
    log.info("revoked", id=key.id, name=key.name)
