"""A record of the log to rows ready to be stored."""

from typing import Any

from receiver.decode import otlp
from receiver.decode.arrow import TABLE_OF, complete, decode
from receiver.decode.native import decode_spans
from receiver.decode.shared import SharedTexts
from receiver.log.records import Record
from receiver.store.tail import Decoded, body_digest


def decode_record(record: Record) -> Decoded:
    """Decode a logged request, or complete what was decoded of it on its way in."""
    entry = record.entry
    signal = otlp.Signal(entry.kind)
    spans = entry.spans
    if spans is None and signal is otlp.Signal.TRACES:
        spans = decode_spans(entry.body)
    shared = SharedTexts()
    how: dict[str, Any] = {"project": entry.project, "received_ns": entry.received_ns, "seq": record.seq}
    if spans is not None:
        batch = complete(signal, spans.columns, spans.num_rows, **how)
    else:
        batch = decode(signal, otlp.REQUESTS[signal].FromString(entry.body), **how, shared=shared)
    digest = body_digest(entry.body) if signal is otlp.Signal.LOGS else ""
    return Decoded(record.seq, entry.received_ns, TABLE_OF[signal], batch, digest, entry.project, shared.texts)
