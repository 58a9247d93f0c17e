"""Sends records by OTLP/JSON from a thread of its own, in batches. Standard library only.

Whoever puts a record never waits, and never learns of an error: what cannot be sent is tried again, spooled to disk
where a directory is set, else dropped, counted and said once.
"""

import atexit
import contextlib
import json
import logging
import os
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from otel_exporter.spool import Spool

log = logging.getLogger("otel_exporter.tracker")

PREFIX = "SPANLOOP_EXPORTER_OTLP_"
DEFAULT_ENDPOINT = "http://localhost:4318"
MEBIBYTE = 1 << 20
MAX_WAITING_BYTES = 64 * MEBIBYTE
"""What may wait in memory, counted in the bytes that were on the wire."""
BATCH_BYTES = 4 * MEBIBYTE
EVERY_S = 1.0
"""How long a record waits for others."""
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
LEAVING_S = 2.0
"""How long the end of the program waits for what is still to be sent."""
RETRYABLE = {429, 502, 503, 504}
"""Statuses after which OTLP has a client send again (OTLP specification, Failures)."""

Record = dict[str, Any]


class Refused(Exception):
    """The receiver will never take this request."""


class Unreachable(Exception):
    """The receiver cannot take this request now."""


class Sender:
    """One queue, one thread, one receiver. Wrong settings leave it idle, with one warning that names the problem."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.num_dropped = 0
        self._post: Callable[[str, bytes], None] | None = None
        self._spool: Spool | None = None
        self._has_said: set[str] = set()
        self._resource = resource_attributes(environment)
        try:
            self._post = _poster(environment)
            if directory := environment.get(f"{PREFIX}SPOOL", "").strip():
                bound = float(environment.get(f"{PREFIX}SPOOL_MIB", "").strip() or "256")
                self._spool = Spool(Path(directory), int(bound * MEBIBYTE))
        except (OSError, ValueError) as error:
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
        atexit.register(close)

    def begin(self) -> None:
        """Start with nothing waiting and no thread: at first, and in a forked child, whose parent sends what it had."""
        self._waiting: deque[tuple[str, int, Callable[[], Record | None]]] = deque()
        self._held: deque[tuple[str, bytes, int]] = deque()
        self._num_bytes = 0
        self._num_busy = 0
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._wants_all = False

    def put(self, signal: str, size_bytes: int, make: Callable[[], "Record | None"]) -> None:
        """Have a record of a signal (`traces`, `logs`) made and sent by the thread; `size_bytes` is about its size."""
        if self._post is None or self._is_closed:
            return
        with self._condition:
            if self._num_bytes + size_bytes > MAX_WAITING_BYTES:
                self._drop(1, "more waits than fits in memory")
                return
            self._waiting.append((signal, size_bytes, make))
            self._num_bytes += size_bytes
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="spanloop-sender", daemon=True)
                self._thread.start()
            elif self._num_bytes > BATCH_BYTES:
                self._condition.notify_all()

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
        if self._thread is not None:
            self.flush(timeout_s)
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while (batch := self._next_batch()) is not None:
            try:
                for signal, records in batch.items():
                    if records:
                        self._held.append((signal, encode(signal, records, self._resource), len(records)))
                is_sent = self._send_held() and self._send_spooled()
            except Exception as error:  # noqa: BLE001 - the agent goes on whatever happens here
                self._drop(sum(map(len, batch.values())), type(error).__name__)
                is_sent = False
            with self._condition:
                self._num_busy = 0
                self._condition.notify_all()
                if not is_sent and not self._wants_all and not self._is_closed:
                    self._condition.wait(retry_s)
            retry_s = FIRST_RETRY_S if is_sent else min(2 * retry_s, LAST_RETRY_S)
        self._drop(sum(num for _, _, num in self._held), "the program ended while Spanloop was away")

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
                self._condition.wait(EVERY_S)
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
                if (record := make()) is not None:
                    batch[signal].append(record)
            except Exception as error:  # noqa: BLE001, PERF203 - one odd record costs itself
                self._drop(1, f"it could not be read: {type(error).__name__}")
        return batch

    def _send_held(self) -> bool:
        """Send what is encoded, the oldest first; what cannot go now is spooled, or held as far as memory allows."""
        assert self._post is not None
        while self._held:
            signal, body, num_records = self._held[0]
            try:
                self._post(f"/v1/{signal}", body)
            except Refused as error:
                self._drop(num_records, str(error))
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
                        self._drop(num_records, "it is larger than the spool")
                except OSError as error:
                    self._drop(num_records, f"the spool took nothing: {error.strerror}")
            return
        while sum(len(body) for _, body, _ in self._held) > MAX_WAITING_BYTES:
            self._drop(self._held.popleft()[2], why)

    def _send_spooled(self) -> bool:
        """Send what lies on disk, of this process or of one before it."""
        assert self._post is not None
        while self._spool is not None and (taken := self._spool.take()) is not None:
            path, signal, body = taken
            try:
                self._post(f"/v1/{signal}", body)
            except Refused as error:
                self._drop(1, str(error))
            except Unreachable:
                self._spool.give_back(path)
                return False
            self._spool.done(path)
        return True

    def _drop(self, num: int, why: str) -> None:
        if not num:
            return
        self.num_dropped += num
        self._say(why, f"{num} records did not reach Spanloop: {why}. Further ones are counted, not said")

    def _say(self, about: str, text: str) -> None:
        if about not in self._has_said and len(self._has_said) < 20:
            self._has_said.add(about)
            log.warning(text)


def resource_attributes(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what OpenTelemetry's variables say of this process, and a name for it where they do not."""
    found = {"service.name": Path(sys.argv[0] or "agent").name or "agent"}
    for pair in environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, marker, value = pair.partition("=")
        if marker and key.strip():
            found[key.strip()] = urllib.parse.unquote(value.strip())
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
        return {"doubleValue": value if value == value and abs(value) != float("inf") else str(value)}
    if isinstance(value, str):
        return {"stringValue": value}
    return {"stringValue": json.dumps(value, ensure_ascii=False, default=str)}


def _poster(environment: Mapping[str, str]) -> Callable[[str, bytes], None]:
    """Return what posts a body to a path of the receiver. Raises ValueError and OSError for settings that cannot be."""

    def setting(name: str, default: str = "") -> str:
        return environment.get(f"{PREFIX}{name}", "").strip() or default

    endpoint = setting("ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")
    if not endpoint.startswith(("http://", "https://")):
        raise ValueError(f"{PREFIX}ENDPOINT is {endpoint!r}; the tracker speaks HTTP: use http://host:4318")
    try:
        timeout_s = float(setting("TIMEOUT", "10"))
    except ValueError:
        raise ValueError(f"{PREFIX}TIMEOUT is not a number of seconds") from None
    headers = {"Content-Type": "application/json"}
    for pair in filter(None, setting("HEADERS").split(",")):
        key, marker, value = pair.partition("=")
        if not marker:
            raise ValueError(f"{PREFIX}HEADERS: {key.strip()!r} has no value; use name=value,name=value")
        headers[key.strip()] = urllib.parse.unquote(value.strip())
    # No proxy: prompts go to the address that was set and nowhere else.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _NoRedirect()]
    if endpoint.startswith("https://"):
        context = ssl.create_default_context(cafile=setting("CERTIFICATE") or None)
        if certificate := setting("CLIENT_CERTIFICATE"):
            context.load_cert_chain(certificate, setting("CLIENT_KEY") or None)
        handlers.append(urllib.request.HTTPSHandler(context=context))
    opener = urllib.request.build_opener(*handlers)

    def post(path: str, body: bytes) -> None:
        request = urllib.request.Request(endpoint + path, body, headers)  # noqa: S310 - http and https alone, above
        try:
            with opener.open(request, timeout=timeout_s) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            with contextlib.suppress(OSError):
                error.close()
            kind = Unreachable if error.code in RETRYABLE else Refused
            raise kind(f"{endpoint} answered {error.code}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise Unreachable(f"{endpoint}: {type(reason).__name__}") from None

    return post


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        """Follow nothing: a receiver does not move."""
