"""What a row becomes: spans and scores, with ids, times and attributes as OTLP has them."""

import ast
import base64
import binascii
import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from receiver.decode.otlp import MAX_NS
from receiver.history.rows import Row

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MAX_LITERAL = 1 << 20
"""Characters of Python's text that are read: the parser takes some hundred bytes for each."""

ORIGINAL_ID = "spanloop.import.id"
ORIGINAL_TRACE_ID = "spanloop.import.trace_id"
"""Ids as the vendor has them, where they are no W3C ids."""


class Refused(Exception):
    """A row, or part of one, that cannot be imported; the message says why, in words that are alike for its kind."""


@dataclass(slots=True)
class Score:
    """A judgement, of a span, a trace or a session. Without a trace it is of the span with that id."""

    name: str
    value: float | None
    time_ns: int
    trace_id: bytes = b""
    span_id: bytes = b""
    session_id: str | None = None
    label: str | None = None
    explanation: str | None = None


Record = Span | Score | Refused
"""What a row yields; a refusal is of a part of it."""


@dataclass(frozen=True)
class Vendor:
    """How one product's exports are known and read."""

    name: str
    expects: str
    """What its files are, for whoever brought others."""

    claims: Callable[[Row], bool]
    """Tells whether a row has the shape of this product's."""

    read: Callable[[Row, int], Iterator[Record]]
    """Reads a row; the number is when its file was written, for rows without a time. Raises `Refused`."""


def decoded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return what JSON text holds, as files without objects have it, or Python's own, as pandas writes it into CSV.

    Anything else is returned as it is.

    >>> decoded('{"n": 1}'), decoded("{'n': None}"), decoded("[no list"), decoded(2)
    ({'n': 1}, {'n': None}, '[no list', 2)
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return _literal(value)


def _literal(text: str) -> Any:  # noqa: ANN401
    if len(text) > MAX_LITERAL:
        return text
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, SystemError):
        return text
    return found if isinstance(found, dict | list) else text


def mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return an object, from JSON text too; an empty one where it is none."""
    value = decoded(value)
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:  # noqa: ANN401
    """Return a list, from JSON text too; an empty one where it is none."""
    value = decoded(value)
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str | None:  # noqa: ANN401
    """Return text as it is, any other value as JSON; None for what says nothing."""
    if value is None or value == "":
        return None
    return (
        value if isinstance(value, str) else orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    )


def first(row: Mapping[str, Any], *keys: str) -> Any:  # noqa: ANN401
    """Return the first of the fields that says anything."""
    for key in keys:
        value = row.get(key)
        if value is not None and value != "":
            return value
    return None


def number_of(value: Any) -> float | None:  # noqa: ANN401
    """Return a finite number, from text too; None for anything else.

    >>> number_of("0.5"), number_of(True), number_of("good"), number_of("nan")
    (0.5, 1.0, None, None)
    """
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def ns_of(value: Any) -> int | None:  # noqa: ANN401
    """Return an instant in nanoseconds since 1970: of ISO 8601 (UTC, unless it says otherwise), or of a number.

    Numbers are seconds, milliseconds, microseconds or nanoseconds, as their size tells: of the years 1970 to 5138,
    1973 to 2286 and so on.

    >>> ns_of("2024-05-29 13:46:19.963000"), ns_of(1716990379), ns_of("1716990379963")
    (1716990379963000000, 1716990379000000000, 1716990379963000000)
    """
    if value is None or value == "":
        return None
    is_text = isinstance(value, str) and value[4:5] == "-"  # a year: most times are, and are no number
    number = None if is_text else number_of(value)
    if number is not None:
        scale = next((scale for scale, end in ((10**9, 1e11), (10**6, 1e14), (1000, 1e17)) if number < end), 1)
        whole = isinstance(value, int) or scale == 1
        instant = int(value) * scale if whole else round(number * scale / 1000) * 1000
    else:
        instant = _instant(value)
    if not 0 <= instant <= MAX_NS:
        raise Refused("a time outside the years 1970 to 2262")
    return instant


def _instant(value: Any) -> int:  # noqa: ANN401
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).removesuffix(" UTC"))
    except ValueError:
        raise Refused("a time that is none") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // MICROSECOND * 1000


HEX = {size: re.compile(f"[0-9a-f]{{{2 * size}}}") for size in (8, 16)}


def trace_id_of(text: str) -> bytes:
    """Return 16 bytes for a trace: its W3C id, the bytes of its UUID, or a hash of any other id.

    >>> trace_id_of("tr-0af7651916cd43dd8448eb211c80319c").hex()
    '0af7651916cd43dd8448eb211c80319c'
    """
    return _id_of(text.removeprefix("tr-"), 16)


def span_id_of(text: str) -> bytes:
    """Return 8 bytes for a span: its W3C id, or a hash of any other id."""
    return _id_of(text, 8)


@lru_cache(4096)  # a trace's rows lie near each other, and a span is named by those below it
def _id_of(text: str, size: int) -> bytes:
    plain = text.lower().removeprefix("0x")
    plain = plain.replace("-", "") if size == 16 and len(plain) == 36 else plain
    if HEX[size].fullmatch(plain) and plain.strip("0"):
        return bytes.fromhex(plain)
    if len(text) == 4 * ((size + 2) // 3) and text.endswith("="):  # as protobuf's JSON has bytes
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:
            pass
    return hashlib.blake2b(text.encode(), digest_size=size).digest()


def attribute(key: str, value: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the fields of an attribute: text, numbers and lists of texts as they are, whatever has more to it as JSON.

    Fields are made messages of a third of the time, where the message they belong to is made of them.
    """
    return {"key": key, "value": _value(value)}


def _value(value: Any) -> dict[str, Any]:  # noqa: ANN401
    if isinstance(value, str):
        return {"string_value": value}
    if isinstance(value, bool):
        return {"bool_value": value}
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return {"int_value": value}
    if isinstance(value, float):
        return {"double_value": value}
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return {"array_value": {"values": [{"string_value": item} for item in value]}}
    return {"string_value": as_text(value) or ""}


def make_span(
    *,
    trace: str,
    span: str,
    parent: str | None,
    name: Any,  # noqa: ANN401
    start_ns: int | None,
    end_ns: int | None,
    attributes: Mapping[str, Any],
    error: str | None = None,
    events: Iterable[Mapping[str, Any]] = (),
) -> Span:
    """Return a span, with the vendor's own ids beside the W3C ids made of them; an error is a failed status."""
    if start_ns is None:
        raise Refused("no start time")
    if end_ns is None:
        raise Refused("no end time: it was still running when it was exported")
    trace_id, span_id = trace_id_of(trace), span_id_of(span)
    fields = [attribute(key, value) for key, value in attributes.items() if value not in (None, "", {}, [])]
    if span_id.hex() != span:
        fields.append(attribute(ORIGINAL_ID, span))
    if trace_id.hex() != trace:
        fields.append(attribute(ORIGINAL_TRACE_ID, trace))
    made = Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=span_id_of(parent) if parent else b"",
        name=as_text(name) or "",
        start_time_unix_nano=start_ns,
        end_time_unix_nano=max(start_ns, end_ns),
        attributes=fields,  # type: ignore[arg-type]
    )
    if error is not None:
        made.status.code, made.status.message = Status.STATUS_CODE_ERROR, error
    for event in events:
        time_ns = ns_of(first(event, "time_unix_nano", "timestamp", "time")) or made.end_time_unix_nano
        told = [attribute(key, value) for key, value in mapping(event.get("attributes")).items()]
        made.events.add(name=as_text(event.get("name")) or "", time_unix_nano=time_ns, attributes=told)
    return made


def required(row: Mapping[str, Any], *keys: str) -> str:
    """Return the first of the fields that is there, as text. Raises `Refused` where none is."""
    value = first(row, *keys)
    if value is None:
        raise Refused(f"no {keys[0]}")
    return str(value)
