"""Spans of the tracker: what is around a line, where a new one belongs, and how it is written."""

import contextlib
import os
import sys
import time
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

from otel_exporter import schema
from otel_exporter.blocks import CONVERSATION, Block
from otel_exporter.sending.sender import Record, attributes
from otel_exporter.tracking import outbox

JOINING = (schema.EPISODE_ID, CONVERSATION)
"""Written on every span of an episode, since beside OpenTelemetry they may lie in several traces."""


class span(Block["span"]):  # noqa: N801 - used as `with span(...)`, as contextlib's own are
    """Something that takes time and has calls inside: a context manager, async too, and a decorator of functions.

    Without OpenTelemetry around it the outermost one is the root of a new trace.
    """

    def __init__(self, name: str, values: "dict[str, Any] | None" = None) -> None:
        super().__init__(name, values)
        self.events: list[tuple[int, dict[str, Any]]] = []
        self.trace_id = self.span_id = ""
        self.parent_id: str | None = None
        self.inherited: dict[str, Any] = {}
        self.error: str | None = None
        self._outer_otel: str | None = None
        self._start_ns = 0
        self._token: Token[span | None] | None = None

    def __enter__(self) -> "span":  # noqa: PYI034 - typing.Self is 3.11's
        self.trace_id, self.parent_id, self.inherited = place()
        self.span_id = os.urandom(8).hex()
        self._outer_otel = (_otel_context() or (None, None))[1]
        self._start_ns = time.time_ns()
        self._token = current.set(self)
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        if self._token is not None:
            with contextlib.suppress(ValueError):  # left in another context, as generators do
                current.reset(self._token)
            self._token = None
        if kind is not None and kind is not GeneratorExit:
            self.error = kind.__name__
        end_ns = time.time_ns()
        size = 500 + sum(len(value) for value in self.values.values() if isinstance(value, str))
        outbox.sender().put("traces", size, lambda: self._record(end_ns))

    def _record(self, end_ns: int) -> Record:
        return span_record(
            self.trace_id, self.span_id, self.parent_id, self.name, 1, self._start_ns, end_ns,
            {**self.inherited, **self.values}, self.error, self.events,
        )  # fmt: skip


current: "ContextVar[span | None]" = ContextVar("spanloop_span", default=None)


def place() -> "tuple[str, str | None, dict[str, Any]]":
    """Return trace id, parent span id and inherited attributes of what begins here.

    The parent is the innermost span around, ours or OpenTelemetry's: theirs when it began inside of ours.
    """
    around = current.get()
    theirs = _otel_context()
    if around is None:
        return (*theirs, {}) if theirs else (os.urandom(16).hex(), None, {})
    inherited = {
        name: value for name in JOINING if (value := around.values.get(name, around.inherited.get(name))) is not None
    }
    if theirs and theirs[1] != around._outer_otel:  # noqa: SLF001
        return (*theirs, inherited or {schema.EPISODE_ID: around.trace_id})
    return around.trace_id, around.span_id, inherited


def _otel_context() -> "tuple[str, str] | None":
    """Return the ids of OpenTelemetry's current span, where a program has loaded it and is in one."""
    module = sys.modules.get("opentelemetry.trace")
    if module is None:
        return None
    try:
        context = module.get_current_span().get_span_context()
    except Exception:  # noqa: BLE001 - an OpenTelemetry we do not know
        return None
    return (f"{context.trace_id:032x}", f"{context.span_id:016x}") if context.is_valid else None


def span_record(
    trace_id: str,
    span_id: str,
    parent_id: "str | None",
    name: str,
    kind: int,
    start_ns: int,
    end_ns: int,
    values: "dict[str, Any]",
    error: "str | None",
    events: "list[tuple[int, dict[str, Any]]]",
) -> Record:
    """Return a span as OTLP/JSON has it, its values as the stages let them through."""
    if error is not None:
        values = {**values, "error.type": error}
    values, *told = outbox.passed(values, *(said for _, said in events))
    record: Record = {
        "traceId": trace_id, "spanId": span_id, "name": name, "kind": kind,
        "startTimeUnixNano": str(start_ns), "endTimeUnixNano": str(end_ns), "attributes": attributes(values),
    }  # fmt: skip
    if parent_id:
        record["parentSpanId"] = parent_id
    if events:
        record["events"] = [
            {"name": schema.EVALUATION_EVENT, "timeUnixNano": str(time_ns), "attributes": attributes(said)}
            for (time_ns, _), said in zip(events, told)  # noqa: B905 - CPython 3.10 and older
        ]
    if error is not None:
        record["status"] = {"code": 2, "message": error}
    return record
