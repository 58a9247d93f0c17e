"""Ingests recorded export requests: through the running receiver, or where none runs by the same log and landing."""

import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from foundation.errors import SettingsError, SpanloopError
from foundation.narration import get_logger
from foundation.web.http import open_url
from otel_exporter.redaction import Redactor
from receiver.decode import otlp
from receiver.decode.json_reading import read_document
from receiver.decode.otlp import Request, Signal
from receiver.decode.refusals import Undecodable
from receiver.intake.entry import Intake
from receiver.pipeline import Pipeline
from receiver.reading.find import find_receiver

log = get_logger("receiver")

POST_TIMEOUT_S = 60.0
"""How long a receiver may take over one request; it answers 503 by itself before that."""

PATHS = {Signal.TRACES: "/v1/traces", Signal.LOGS: "/v1/logs"}


def import_files(data: Path, files: Iterable[Path], redactor: Redactor | None = None) -> Counter[str]:
    """Store the requests in the files; return how many files, spans and log records that were.

    What is stored already is dropped by the same rules as a client's resend, so importing twice changes nothing. A
    running receiver redacts as it is set up; the redactor is for where none runs.
    """
    requests = [(path, request) for path in files for request in read_file(path)]
    where = find_receiver(data)
    counts = Counter(files=len({path for path, _ in requests}))
    for path, request in requests:
        kind = "spans" if request.signal is Signal.TRACES else "log_records"
        counts[kind] += request.num_items - request.num_rejected
        counts["rejected_spans"] += request.num_rejected
        if request.problem:
            log.warning("not taken as it is", file=str(path), problem=request.problem)
    if where is not None:
        for path, request in requests:
            _post(where, path, request)
        return counts
    with closing(Pipeline(data, purpose="spanloop receiver import")) as pipeline:
        _submit_all(Intake(pipeline, redactor), [request for _, request in requests])
    return counts


def _submit_all(intake: Intake, requests: list[Request]) -> None:
    for request in requests:
        intake.take(request.signal, request.body)


def _post(where: dict[str, Any], path: Path, request: Request) -> None:
    url = where["http"]
    headers = {"Content-Type": "application/x-protobuf", "Authorization": f"Bearer {where['token']}"}
    message = urllib.request.Request(url + PATHS[request.signal], data=request.body, headers=headers)  # noqa: S310
    try:
        with open_url(message, timeout_s=POST_TIMEOUT_S) as response:
            response.read()
    except urllib.error.HTTPError as error:
        raise SpanloopError(f"{path}: the receiver answered {error.code} {error.reason}") from error
    except OSError as error:
        raise SpanloopError(f"{path}: the receiver at {url} stopped answering: {error}") from error


def read_file(path: Path) -> list[Request]:
    """Read the export requests of a file: `.json` or `.jsonl` OTLP/JSON, one a document or a line; else protobuf.

    A protobuf request does not say whether it holds traces or logs: `.logs.pb` are logs, and any
    other name is taken as what makes sense.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    try:
        requests = _read_json(content) if path.suffix in {".json", ".jsonl"} else [_read_protobuf(path, content)]
        _expect_items(requests)
    except Undecodable as error:
        raise SpanloopError(
            f"{path} holds no OTLP export request: {error}",
            hint="Expected are the bytes of an ExportTraceServiceRequest or ExportLogsServiceRequest, or OTLP/JSON: "
            '{"resourceSpans": […]} or {"resourceLogs": […]}, one a file or one a line.',
        ) from None
    return requests


def _expect_items(requests: list[Request]) -> None:
    if not any(request.num_items for request in requests):
        raise Undecodable("it has neither spans nor log records")


def _read_protobuf(path: Path, content: bytes) -> Request:
    if path.name.endswith(".logs.pb"):
        return otlp.read_protobuf(Signal.LOGS, content)
    request = otlp.read_protobuf(Signal.TRACES, content)
    if request.num_items and request.num_items == request.num_rejected:
        return otlp.read_protobuf(Signal.LOGS, content)
    return request


def _read_json(content: bytes) -> list[Request]:
    try:
        read_document(content)
        documents = [content]
    except Undecodable:
        documents = [line for line in content.splitlines() if line.strip()]
    return [request for document in documents for request in _read_document(document)]


KEYS = {
    Signal.TRACES: frozenset({"resourceSpans", "resource_spans"}),
    Signal.LOGS: frozenset({"resourceLogs", "resource_logs"}),
}


def _read_document(document: bytes) -> list[Request]:
    keys = read_document(document)[0].keys()
    signals = [signal for signal, names in KEYS.items() if names & keys]
    if not signals:
        raise Undecodable("an object in it has neither resourceSpans nor resourceLogs")
    return [otlp.read_json(signal, document) for signal in signals]
