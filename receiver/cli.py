"""Commands of the receiver: run, import, status."""

import asyncio
import sys
import urllib.request
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from foundation.narration import get_logger
from foundation.report import RunReport
from foundation.settings import DEFAULT_DATA
from receiver.importing import import_files
from receiver.reading import find_receiver, reading
from receiver.service import serve
from receiver.settings import ReceiverConfig

app = App(name="receiver")

log = get_logger("receiver")


@app.command
def run(*, config: Annotated[ReceiverConfig, Parameter(name="*")] = ReceiverConfig()) -> None:
    """Take OTLP traces and logs over gRPC and HTTP, store them durably and answer SQL.

    Example: spanloop receiver run --data spanloop-data --grpc 127.0.0.1:4317 --http 127.0.0.1:4318
    """
    asyncio.run(serve(config))


@app.command(name="import")
def import_(
    *files: Path, data: Path = DEFAULT_DATA, json: Annotated[bool, Parameter(name="--json", negative="")] = False
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
    report = RunReport("receiver import", {"data": str(data), "files": [str(path) for path in files]})
    with report.phase("import"):
        counts = import_files(data, files)
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
        **({key: where[key] for key in ("pid", "grpc", "http", "started_time")} if where else {}),
        "ready": where is not None and _is_ready(where["http"]),
        **stored,
    }
    report.update(**shown)
    if json:
        report.print()
        return
    for key, value in shown.items():
        sys.stdout.write(f"{key:20}{'-' if value is None else value}\n")


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:  # noqa: S310 - the receiver's own address
            return bool(response.status == 200)
    except OSError:
        return False
