"""The exporters behind `OTEL_TRACES_EXPORTER=otlp,spanloop` and `OTEL_LOGS_EXPORTER=otlp,spanloop`.

What the SDK hands over passes the stages: select, redact, cut, encode; then it waits in memory for a thread of ours
that sends it, or keeps it on disk while the receiver is away. The SDK's own thread never waits for the receiver, and a
stage that fails costs its spans, never the agent.

Settings are SPANLOOP_EXPORTER_OTLP_* for the connection, and SPANLOOP_EXPORTER_SELECT, _REDACT…, _CUT_… for the stages.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import environ
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_exporter.messages import change
from otel_exporter.sending.post import DEFAULT_ENDPOINT, PREFIX, Post, http_post, read_settings
from otel_exporter.sending.sender import LEAVING_S, STAGES, Body, Sender
from otel_exporter.stages.cutting import Stage
from otel_exporter.stages.selection import Selection

log = logging.getLogger(__name__)

EVERY_S = 0.05
"""How long a batch waits for others: the SDK collects batches itself."""

Encode = Callable[[Sequence[Any]], Any]


class Exporting:
    """Stages from what an SDK hands over to a queue that never blocks. Shared by spans and log records."""

    def __init__(self, signal: str, encode: Encode, environment: Mapping[str, str]) -> None:
        self._signal = signal
        self._encode = encode
        self._sender: Sender | None = None
        self._choose: Callable[[Iterable[Any]], list[Any]] = list
        self._stage: Stage | None = None
        try:
            if signal == "traces" and _selects_agents(environment):
                self._choose = Selection().choose
            self._sender = _sender(environment)
            self._stage = self._sender.stage if self._sender else None
        except Exception as error:  # noqa: BLE001 - whatever it is, the agent goes on without us
            log.warning("no %s go to Spanloop: %s", signal, error)

    @property
    def num_dropped(self) -> int:
        """How much did not and will not reach the receiver."""
        sender = self._sender
        return sender.num_dropped if sender else 0

    def take(self, items: Sequence[Any]) -> bool:
        """Put a batch on its way; tell whether there is one."""
        sender = self._sender  # a shutdown in another thread takes it away
        if sender is None:
            return False
        try:
            chosen = self._choose(items)
            if chosen:
                self._put(sender, chosen)
        except Exception as error:  # noqa: BLE001 - as above
            sender.drop(len(items), f"a stage failed: {type(error).__name__}")
            return False
        return True

    def _put(self, sender: Sender, items: Sequence[Any]) -> None:
        try:
            request = self._encode(items)
            if self._stage is not None:
                change(request, self._stage)
        except Exception:
            if len(items) == 1:
                raise
            for one in items:  # an odd one costs itself
                self._put_one(sender, one)
            return
        body = Body(request.SerializeToString(), len(items))
        sender.put(self._signal, len(body.content), lambda: body, num_items=len(items))

    def _put_one(self, sender: Sender, item: Any) -> None:  # noqa: ANN401
        """Put one item on its way, or count it as dropped."""
        try:
            self._put(sender, [item])
        except Exception as error:  # noqa: BLE001 - as above
            sender.drop(1, f"it could not be encoded: {type(error).__name__}")

    def flush(self, timeout_s: float) -> bool:
        """Send what waits; tell whether all of it left within the time."""
        sender = self._sender
        return sender is None or sender.flush(timeout_s)

    def shutdown(self) -> None:
        """Send what waits, for at most two seconds, and take no more."""
        sender, self._sender = self._sender, None
        if sender is not None:
            _leave(sender)


class SpanloopExporter(SpanExporter):
    """Sends ended spans to Spanloop and never raises into the agent, nor makes it wait.

    Wrong settings leave it idle, with one warning that names the problem; then every export fails, quietly.
    """

    def __init__(self) -> None:
        self._exporting = Exporting("traces", encode_spans, environ)

    @property
    def num_dropped(self) -> int:
        """Spans that did not and will not reach the receiver."""
        return self._exporting.num_dropped

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Put a batch of ended spans on its way."""
        return SpanExportResult.SUCCESS if self._exporting.take(spans) else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Send what waits, for at most two seconds, and take no more."""
        self._exporting.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits; tell whether all of it left within the time."""
        return self._exporting.flush(timeout_millis / 1000)


def _selects_agents(environment: Mapping[str, str]) -> bool:
    select = environment.get(f"{STAGES}SELECT", "").strip() or "all"
    if select not in {"all", "agents"}:
        raise ValueError(f"{STAGES}SELECT is {select!r}; use all or agents")
    return select == "agents"


_lock = threading.Lock()
_shared: "dict[str, tuple[Sender, int]]" = {}
"""Senders by their settings, each with the number of exporters that use it."""


def _sender(environment: Mapping[str, str]) -> "Sender | None":
    """Return the sender of these settings, one for spans and logs; None where they cannot be."""
    known = repr(sorted(pair for pair in environment.items() if pair[0].startswith(STAGES)))
    with _lock:
        if known not in _shared:
            folder = _protocol(environment).partition("/")[0]
            _shared[known] = (
                Sender(environment, connect, folder=folder, every_s=EVERY_S, closes_at_exit=False), 0
            )  # fmt: skip
        sender, num_users = _shared[known]
        _shared[known] = (sender, num_users + 1)
        return sender if sender.is_able else None


def _leave(sender: Sender) -> None:
    """Close a sender that nobody else uses, within two seconds; else have it send what waits."""
    with _lock:
        for known, (one, num_users) in list(_shared.items()):
            if one is sender:
                _shared[known] = (one, num_users - 1)
                if num_users == 1:
                    del _shared[known]
                    break
        else:
            sender.flush(LEAVING_S)
            return
    sender.close(LEAVING_S)


def _protocol(environment: Mapping[str, str]) -> str:
    protocol = environment.get(f"{PREFIX}PROTOCOL", "").strip() or "grpc"
    if protocol not in {"grpc", "http/protobuf"}:
        raise ValueError(f"{PREFIX}PROTOCOL is {protocol!r}; use one of grpc, http/protobuf")
    return protocol


def connect(environment: Mapping[str, str]) -> Post:
    """Return what sends protobuf with our settings. Only the protocol in use is loaded into the agent's process."""
    if _protocol(environment) == "http/protobuf":
        return http_post(read_settings(environment, DEFAULT_ENDPOINT), "application/x-protobuf")
    from otel_exporter.sending.grpc_post import grpc_post

    return grpc_post(read_settings(environment, "http://localhost:4317"))
