"""Sends a reward that came after its span: as a log record with the ids of what was judged."""

import atexit
import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from os import environ
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_exporter.exporter import Exporting
from otel_exporter.schema import EVALUATION_EVENT

log = logging.getLogger(__name__)

_HEX = re.compile("[0-9a-fA-F]+")
_lock = threading.Lock()
_exporting: "Exporting | None" = None


def send(attributes: "Mapping[str, str | float]", *, trace_id: "str | int | None", span_id: "str | int | None") -> bool:
    """Put a reward on its way; tell whether it is. Ids may be numbers, as OpenTelemetry has them, or hex digits."""
    global _exporting
    try:
        ids = (_bytes(trace_id, 16), _bytes(span_id, 8))
    except ValueError:
        log.warning("the reward is not recorded: a trace id has 32 hex digits, a span id 16")
        return False
    with _lock:
        if _exporting is None:
            _exporting = Exporting("logs", _request, environ)
            atexit.register(_exporting.shutdown)
    return _exporting.take([(time.time_ns(), attributes, *ids)])


def _request(records: "Sequence[tuple[int, Mapping[str, str | float], bytes, bytes]]") -> Any:  # noqa: ANN401
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    scope.scope.name = "otel_exporter"
    for time_ns, attributes, trace_id, span_id in records:
        record = scope.log_records.add(time_unix_nano=time_ns, trace_id=trace_id, span_id=span_id)
        if hasattr(record, "event_name"):
            record.event_name = EVALUATION_EVENT
        else:  # older OpenTelemetry has the name of an event among the attributes
            attributes = {**attributes, "event.name": EVALUATION_EVENT}
        for key, value in attributes.items():
            held = record.attributes.add(key=key).value
            if isinstance(value, str):
                held.string_value = value
            else:
                held.double_value = value
    return request


def _bytes(id: "str | int | None", size: int) -> bytes:  # noqa: A002
    if id is None:
        return b""
    number = int(id, 16) if isinstance(id, str) and _HEX.fullmatch(id) and len(id) == 2 * size else id
    if not isinstance(number, int) or not 0 < number < 1 << 8 * size:
        raise ValueError
    return number.to_bytes(size, "big")
