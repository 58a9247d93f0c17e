"""Sends records by OTLP/JSON, or requests that are encoded, from a thread of its own. Standard library only.

Whoever puts a record never waits, and never learns of an error: what cannot be sent is tried again, spooled to disk
where a directory is set, else dropped, counted and said once.
"""

import atexit
import contextlib
import json
import logging
import math
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_exporter.sending.post import PREFIX, Post, Refused, Unreachable, http_post, read_settings, unquoted
from otel_exporter.stages.cutting import Stage, stages

if TYPE_CHECKING:
    from otel_exporter.sending.spool import Spool

log = logging.getLogger("otel_exporter.tracker")

STAGES = "SPANLOOP_EXPORTER_"
"""How the names of the variables begin that set the stages."""
MEBIBYTE = 1 << 20
MAX_WAITING_BYTES = 64 * MEBIBYTE
"""What may wait in memory, counted in the bytes that were on the wire."""
BATCH_BYTES = 4 * MEBIBYTE
EVERY_S = 1.0
"""How long a record waits for others."""
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
LEAVING_S = 2.0
"""How long the end of the program waits for what is still to be sent."""

Record = dict[str, Any]

_WORDS = {math.inf: "Infinity", -math.inf: "-Infinity"}
"""What protobuf's JSON calls the numbers that JSON has no words for; every other one is NaN."""


class Body(NamedTuple):
    """A request that is encoded already, with the number of its items."""

    content: bytes
    num_items: int


class Sender:
    """One queue, one thread, one receiver. Wrong settings leave it idle, with one warning that names the problem.

    `stage` is what the environment asks spans to pass; whoever makes records has them pass it.
    `connect` makes what sends; the default posts OTLP/JSON. `folder` is where below the spool's directory its requests
    lie, which are of one encoding. `every_s` is how long a record waits for others. With `closes_at_exit` the end of
    the program closes it; else that is for whoever made it.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        connect: "Callable[[Mapping[str, str]], Post] | None" = None,
        *,
        folder: str = "",
        every_s: float = EVERY_S,
        closes_at_exit: bool = True,
    ) -> None:
        self.num_dropped = 0
        self.stage: Stage | None = None
        self._post: Post | None = None
        self._every_s = every_s
        self._spool: "Spool | None" = None  # noqa: UP037 - its module is loaded below where there is one
        self._has_said: set[str] = set()
        self._resource = resource_attributes(environment)
        try:
            self.stage = stages(environment, STAGES)
            self._post = connect(environment) if connect else http_post(read_settings(environment))
            if directory := environment.get(f"{PREFIX}SPOOL", "").strip():
                from pathlib import Path

                from otel_exporter.sending.spool import Spool

                bound = float(environment.get(f"{PREFIX}SPOOL_MIB", "").strip() or "256")
                self._spool = Spool(Path(directory, folder), int(bound * MEBIBYTE))
        except (ImportError, OSError, ValueError) as error:
            self._post = None
            log.warning("nothing goes to Spanloop: %s", error)
        self.begin()
        known = weakref.ref(self)

        def begin_again() -> None:
            if (sender := known()) is not None:
                sender.begin()

        def close() -> None:
            if (sender := known()) is not None:
                sender.close(LEAVING_S)

        os.register_at_fork(after_in_child=begin_again)
        if closes_at_exit:
            atexit.register(close)

    def begin(self) -> None:
        """Start with nothing waiting and no thread: at first, and in a forked child, whose parent sends what it had."""
        self._waiting: deque[tuple[str, int, Callable[[], Record | Body | None]]] = deque()
        self._held: deque[tuple[str, bytes, int]] = deque()
        self._num_bytes = 0
        self._num_busy = 0
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._wants_all = False

    def put(
        self, signal: str, size_bytes: int, make: "Callable[[], Record | Body | None]", *, num_items: int = 1
    ) -> None:
        """Have a record of a signal (`traces`, `logs`) made and sent by the thread; `size_bytes` is about its size."""
        if self._post is None:
            return
        if self._is_closed:
            self.drop(num_items, "it came after the end of the program")
            return
        with self._condition:
            if self._num_bytes + size_bytes > MAX_WAITING_BYTES:
                self.drop(num_items, "more waits than fits in memory")
                return
            self._waiting.append((signal, size_bytes, make))
            self._num_bytes += size_bytes
            if self._num_bytes > BATCH_BYTES:
                self._condition.notify_all()
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="spanloop-sender", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending and takes no more threads: send here, once
            self._is_closed = True
            self._run()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Have everything sent that waits; tell whether it was, within the time."""
        deadline = time.monotonic() + timeout_s
        with self._condition:
            self._wants_all = True
            self._condition.notify_all()
            while (self._waiting or self._num_busy) and (left := deadline - time.monotonic()) > 0:
                self._condition.wait(left)
            self._wants_all = False
            return not (self._waiting or self._num_busy)

    def close(self, timeout_s: float = LEAVING_S) -> None:
        """Send or spool what waits and end the thread; what still waits after the time is dropped."""
        if self._is_closed:
            return
        is_sent = self._thread is None or self.flush(timeout_s)
        with self._condition:
            self._is_closed = True
            left = [] if is_sent else [*self._waiting]
            self._condition.notify_all()
        if not is_sent and self._spool is not None:
            self._leave(left)

    def _leave(self, waiting: "list[tuple[str, int, Callable[[], Record | Body | None]]]") -> None:
        """Spool what the thread will not come to send; what it is just sending may arrive twice, and counts once."""
        assert self._spool is not None
        try:
            for signal, body, _ in list(self._held):
                self._spool.put(signal, body)
            for signal, _, make in waiting:
                record = make()
                if record is not None:
                    encoded = record.content if isinstance(record, Body) else encode(signal, [record], self._resource)
                    self._spool.put(signal, encoded)
        except Exception as error:  # noqa: BLE001 - the agent is about to end, and does
            self.drop(1, f"the spool took nothing: {type(error).__name__}")

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while (batch := self._next_batch()) is not None:
            try:
                for signal, records in batch.items():
                    if records:
                        self._held.append((signal, encode(signal, records, self._resource), len(records)))
                with unobserved():
                    is_sent = self._send_held() and self._send_spooled()
            except Exception as error:  # noqa: BLE001 - the agent goes on whatever happens here
                self.drop(sum(map(len, batch.values())), type(error).__name__)
                is_sent = False
            with self._condition:
                self._num_busy = 0
                self._condition.notify_all()
                if not is_sent and not self._wants_all and not self._is_closed:
                    self._condition.wait(retry_s)
            retry_s = FIRST_RETRY_S if is_sent else min(2 * retry_s, LAST_RETRY_S)
        self.drop(sum(num for _, _, num in self._held), "the program ended while Spanloop was away")

    def _next_batch(self) -> "dict[str, list[Record]] | None":
        """Wait for records and return them by signal; None when closed and nothing waits."""
        with self._condition:
            while not self._waiting:
                if self._is_closed:
                    return None
                has_more = bool(self._held) or self._spool is not None
                if not self._condition.wait(LAST_RETRY_S if has_more else None) and has_more:
                    break  # nothing new, but it is time to look whether the receiver is back
            if not self._wants_all and not self._is_closed and self._num_bytes < BATCH_BYTES:
                self._condition.wait(self._every_s)
            taken = []
            num_bytes = 0
            while self._waiting and num_bytes < BATCH_BYTES:
                taken.append(self._waiting.popleft())
                num_bytes += taken[-1][1]
            self._num_bytes -= num_bytes
            self._num_busy = len(taken)
        batch: dict[str, list[Record]] = {"traces": [], "logs": []}
        for signal, _, make in taken:
            try:
                record = make()
                if isinstance(record, Body):
                    self._held.append((signal, *record))
                elif record is not None:
                    batch[signal].append(record)
            except Exception as error:  # noqa: BLE001, PERF203 - one odd record costs itself
                self.drop(1, f"it could not be read: {type(error).__name__}")
        return batch

    def _send_held(self) -> bool:
        """Send what is encoded, the oldest first; what cannot go now is spooled, or held as far as memory allows."""
        assert self._post is not None
        while self._held:
            signal, body, num_records = self._held[0]
            try:
                self._post(signal, body)
            except Refused as error:
                self.drop(num_records, str(error))
            except Unreachable as error:
                self._keep(str(error))
                return False
            self._held.popleft()
        return True

    def _keep(self, why: str) -> None:
        if self._spool is not None:
            self._say("spooled", f"Spanloop is away ({why}); what happens meanwhile is kept in {self._spool.directory}")
            while self._held:
                signal, body, num_records = self._held.popleft()
                try:
                    if not self._spool.put(signal, body):
                        self.drop(num_records, "it is larger than the spool")
                except OSError as error:
                    self.drop(num_records, f"the spool took nothing: {error.strerror}")
            return
        while sum(len(body) for _, body, _ in self._held) > MAX_WAITING_BYTES:
            self.drop(self._held.popleft()[2], why)

    def _send_spooled(self) -> bool:
        """Send what lies on disk, of this process or of one before it."""
        assert self._post is not None
        while self._spool is not None and (taken := self._spool.take()) is not None:
            path, signal, body = taken
            try:
                self._post(signal, body)
            except Refused as error:
                self.drop(1, str(error))
            except Unreachable:
                self._spool.give_back(path)
                return False
            self._spool.done(path)
        return True

    @property
    def is_able(self) -> bool:
        """Whether the settings name a receiver."""
        return self._post is not None

    def drop(self, num: int, why: str) -> None:
        """Count what will not be sent, and say it once of each reason."""
        if not num:
            return
        self.num_dropped += num
        self._say(why, f"{num} spans or records did not reach Spanloop: {why}. Further ones are counted, not said")

    def _say(self, about: str, text: str) -> None:
        if about not in self._has_said and len(self._has_said) < 20:
            self._has_said.add(about)
            log.warning(text)


@contextlib.contextmanager
def unobserved() -> "Iterator[None]":
    """Keep instrumentations of HTTP and gRPC clients, where there are any, from recording what sends recordings."""
    context = sys.modules.get("opentelemetry.context")
    try:
        if context is not None:
            keys = {"suppress_instrumentation", getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", "")}
            quiet = context.get_current()
            for key in keys:
                quiet = context.set_value(key, True, quiet)
            token = context.attach(quiet)
    except Exception:  # noqa: BLE001 - an OpenTelemetry we do not know
        context = None
    try:
        yield
    finally:
        if context is not None:
            context.detach(token)


def resource_attributes(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what OpenTelemetry's variables say of this process, and a name for it where they do not."""
    found = {"service.name": os.path.basename(sys.argv[0] or "agent") or "agent"}  # noqa: PTH119 - as in post.py
    for pair in environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, marker, value = pair.partition("=")
        if marker and key.strip():
            found[key.strip()] = unquoted(value.strip())
    if name := environment.get("OTEL_SERVICE_NAME", "").strip():
        found["service.name"] = name
    return found


def encode(signal: str, records: "list[Record]", resource: Mapping[str, str]) -> bytes:
    """Return an OTLP/JSON request of spans or log records in the tracker's scope."""
    outer, middle, inner = {
        "traces": ("resourceSpans", "scopeSpans", "spans"),
        "logs": ("resourceLogs", "scopeLogs", "logRecords"),
    }[signal]
    scope = {"scope": {"name": "spanloop.tracker", "version": "0.1.0"}, inner: records}
    request = {outer: [{"resource": {"attributes": attributes(resource)}, middle: [scope]}]}
    return json.dumps(request, ensure_ascii=True, separators=(",", ":")).encode()


def attributes(values: Mapping[str, Any]) -> "list[Record]":
    """Return attributes as OTLP/JSON has them; whatever is neither text nor number is written as JSON text.

    >>> attributes({"a": 1, "b": True, "c": None})
    [{'key': 'a', 'value': {'intValue': '1'}}, {'key': 'b', 'value': {'boolValue': True}}]
    """
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value is not None]


def _value(value: Any) -> Record:  # noqa: ANN401
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else _WORDS.get(value, "NaN")}
    if isinstance(value, str):
        return {"stringValue": value}
    return {"stringValue": json.dumps(value, ensure_ascii=False, default=str)}
