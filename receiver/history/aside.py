"""Export requests put aside in a temporary file until it is certain that they are to be stored."""

import struct
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_exporter.schema import (
    EVALUATION_EVENT,
    EVALUATION_EXPLANATION,
    EVALUATION_LABEL,
    EVALUATION_NAME,
    EVALUATION_SCORE,
)
from receiver.decode.otlp import REQUESTS, Signal
from receiver.history.records import Score, attribute

REQUEST_BYTES = 768 << 10
"""Of one export request: a receiver may be set to take no more than 1 MiB."""

REQUEST_RECORDS = 1000
HEADER = struct.Struct("<BI")


class Aside:
    """Export requests of one product, in the order they are stored."""

    def __init__(self, file: IO[bytes], vendor: str) -> None:
        self._file = file
        self._vendor = vendor
        self._open: dict[Signal, tuple[Any, Any]] = {}
        self._sizes: Counter[Signal] = Counter()

    def add(self, record: Span | Score) -> None:
        """Take one record."""
        if isinstance(record, Span):
            signal, listed, made = Signal.TRACES, self._begun(Signal.TRACES).spans, record
        else:
            signal, listed, made = Signal.LOGS, self._begun(Signal.LOGS).log_records, _log_record(record)
        listed.append(made)
        self._sizes[signal] += made.ByteSize()
        if self._sizes[signal] >= REQUEST_BYTES or len(listed) >= REQUEST_RECORDS:
            self._write(signal)

    def _begun(self, signal: Signal) -> Any:  # noqa: ANN401 - generated classes
        """Return the scope that records are listed in, of the request that is being filled."""
        if signal not in self._open:
            if signal is Signal.TRACES:
                request = ExportTraceServiceRequest()
                resource = request.resource_spans.add()
                scope = resource.scope_spans.add()
            else:
                request = ExportLogsServiceRequest()
                resource = request.resource_logs.add()
                scope = resource.scope_logs.add()
            resource.resource.attributes.add(**attribute("spanloop.import.source", self._vendor))
            scope.scope.name = f"spanloop.import.{self._vendor}"
            self._open[signal] = request, scope
        return self._open[signal][1]

    def _write(self, signal: Signal) -> None:
        body = self._open.pop(signal)[0].SerializeToString()
        self._sizes[signal] = 0
        self._file.write(HEADER.pack(signal, len(body)))
        self._file.write(body)

    def end_file(self) -> None:
        """Write what is begun, so that the requests of a file do not depend on the files before it."""
        for signal in sorted(self._open):
            self._write(signal)

    def requests(self) -> Iterator[tuple[Signal, bytes]]:
        """Read the requests back."""
        self._file.seek(0)
        while header := self._file.read(HEADER.size):
            signal, size = HEADER.unpack(header)
            yield Signal(signal), self._file.read(size)
        self._file.seek(0, 2)

    def traces_of(self, span_ids: set[bytes]) -> dict[bytes, bytes]:
        """Return the traces of those of the spans that are here."""
        found: dict[bytes, bytes] = {}
        for signal, body in self.requests():
            if signal is Signal.TRACES:
                (scope,) = REQUESTS[signal].FromString(body).resource_spans[0].scope_spans
                found |= {span.span_id: span.trace_id for span in scope.spans if span.span_id in span_ids}
        return found


def _log_record(score: Score) -> LogRecord:
    told = (
        (EVALUATION_NAME, score.name),
        (EVALUATION_SCORE, score.value),
        (EVALUATION_LABEL, score.label),
        (EVALUATION_EXPLANATION, score.explanation),
        ("gen_ai.conversation.id", score.session_id),
    )
    return LogRecord(
        time_unix_nano=score.time_ns,
        observed_time_unix_nano=score.time_ns,
        event_name=EVALUATION_EVENT,
        trace_id=score.trace_id,
        span_id=score.span_id,
        attributes=[attribute(key, value) for key, value in told if value is not None],  # type: ignore[misc]
    )
