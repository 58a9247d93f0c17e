"""Brings ended spans to the receiver: encoded on one thread, sent on another, on disk while the receiver is away.

Every span that ends is in exactly one place: waiting (in memory, or in the spool), exported, or lost, counted by
reason. No answer waits for any of it. One that cannot be encoded costs itself alone.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from foundation.narration import get_logger
from otel_exporter.schema import CALLER_PROJECT
from serve.evidence.otlp import encode, halve
from serve.evidence.own_keys import OwnKeys
from serve.evidence.privacy import Privacy
from serve.evidence.sending import Outcome, Sender, Verdict
from serve.evidence.spool import Batch, NoRoom, Spool

log = get_logger("serve")

MAX_QUEUED_SPANS = 4096
"""Ended spans that may wait to be encoded, which takes about a tenth of a millisecond each."""

MAX_ENCODED_BYTES = 32 << 20
"""Requests in memory, on their way to a receiver that answers, or where the disk takes none."""

BATCH = 128
"""Spans a request."""

MAX_REQUEST_BYTES = 3 << 20
"""Below the 4 MiB that receivers usually take at most."""

BATCH_DELAY_S = 0.5
FIRST_RETRY_S = 1.0
MAX_RETRY_S = 10.0
MAX_UNCLEAR = 20
"""Attempts after which a request that the receiver answers with an error of its own is given up, so that it does not
keep those behind it back for ever."""

Lost = Literal["no_room", "unencodable", "refused", "damaged"]


class Delivery(SpanProcessor):
    """The way of spans from the calls to the receiver."""

    def __init__(
        self,
        sender: Sender,
        spool: Spool | None,
        own_keys: OwnKeys | None = None,
        *,
        privacy: Privacy = Privacy(),
        first_retry_s: float = FIRST_RETRY_S,
        max_queued: int = MAX_QUEUED_SPANS,
        max_encoded_bytes: int = MAX_ENCODED_BYTES,
    ) -> None:
        self._sender = sender
        self._spool = spool
        self._own_keys = own_keys
        self._privacy = privacy
        self._first_retry_s = first_retry_s
        self._max_queued = max_queued
        self._max_encoded_bytes = max_encoded_bytes
        self._lock = threading.Condition()
        """Over everything below but numbers; over the spool too, so that it may be held for as long as the disk takes:
        whoever answers calls never waits for it."""

        self._counting = threading.Lock()

        self._ended: deque[ReadableSpan] = deque()
        self._encoded: deque[Batch] = deque()
        self._num_encoding = self._num_encoded = 0
        self._encoded_bytes = 0
        self._is_closing = False
        self._is_away = False
        self._lost: Counter[Lost] = Counter()
        self.num_exported = 0
        self._trouble: tuple[str, str] | None = None
        """What keeps spans from being delivered, and since when."""

        self._threads = [
            threading.Thread(target=self._keep_on, args=(work,), name=f"evidence{work.__name__}", daemon=True)
            for work in (self._encode_all, self._send_all)
        ]
        for thread in self._threads:
            thread.start()

    # --- where calls end

    def has_room(self) -> bool:
        """Tell whether a span that ends now can be taken; one that cannot is counted, before any work on it."""
        if len(self._ended) < self._max_queued:
            return True
        self.lose("no_room", 1)
        return False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing happens yet."""

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span. The calls' own thread: it waits for no lock, since the disk may be worked on under ours."""
        self._ended.append(span)
        if len(self._ended) == BATCH and self._lock.acquire(blocking=False):
            self._lock.notify_all()
            self._lock.release()

    def lose(self, reason: Lost, num_spans: int, *, because: str = "") -> None:
        """Count spans that will never arrive; the first of a reason is narrated."""
        with self._counting:
            is_first = not self._lost[reason]
            self._lost[reason] += num_spans
        if is_first:
            log.warning("evidence is lost", reason=reason, spans=num_spans, because=because[:300])

    # --- what status and metrics show

    def counts(self) -> dict[str, int]:
        """Return how many spans are where, by name; every span taken is in one of them, on its way to the next in both.

        The calls' own thread asks, so it waits for nothing: read in the order in which spans go from place to place.
        """
        in_memory = len(self._ended) + self._num_encoding + self._num_encoded
        spool = self._spool
        spooled = 0 if spool is None else spool.num_spans
        return {
            "num_spans_waiting": in_memory + spooled,
            "num_spans_spooled": spooled,
            "spool_bytes": 0 if spool is None else spool.num_bytes,
            "num_spans_exported": self.num_exported,
            "num_spans_dropped": self._lost["no_room"],
            "num_spans_failed": self._lost["refused"],
            "num_spans_unencodable": self._lost["unencodable"],
            "num_spans_damaged": 0 if spool is None else spool.num_damaged,
        }

    @property
    def trouble(self) -> str | None:
        """What keeps spans from being delivered at this moment, and since when."""
        found = self._trouble
        return None if found is None else f"{found[0]} (since {found[1]})"

    def _keep_on(self, work: Callable[[], None]) -> None:
        """Work until the end: an error nobody thought of, of the disk or a library, must not end delivery."""
        while True:
            try:
                work()
            except OSError as error:
                log.warning("the disk keeps evidence from being delivered; it is tried again", reason=error.strerror)
                self._stumble(error)
            except Exception as error:
                log.exception("delivery of evidence stumbled; it goes on")
                self._stumble(error)
            else:
                return

    def _stumble(self, error: Exception) -> None:
        self._trouble = (f"{type(error).__name__}: {error}", _now())
        time.sleep(self._first_retry_s)

    # --- the encoding thread

    def _encode_all(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: len(self._ended) >= BATCH or self._is_closing, BATCH_DELAY_S)
                self._num_encoding = min(BATCH, len(self._ended))
                spans = [self._ended.popleft() for _ in range(self._num_encoding)]
                if not spans and self._is_closing:
                    return
            batches = list(self._encode(spans)) if spans else []
            with self._lock:
                for batch in batches:
                    self._keep(batch)
                self._num_encoding = 0
                self._lock.notify_all()

    def _encode(self, spans: Sequence[ReadableSpan]) -> Iterator[Batch]:
        """Encode spans, those of each project on their own."""
        of_project: dict[str | None, list[ReadableSpan]] = {}
        for ended in spans:
            try:
                span = self._privacy.apply(ended)
            except Exception as error:  # noqa: BLE001 - better no span than one that says what it must not
                self.lose("unencodable", 1, because=type(error).__name__)
                continue
            project = (span.attributes or {}).get(CALLER_PROJECT) if self._own_keys is not None else None
            of_project.setdefault(None if project is None else str(project), []).append(span)
        for project, group in of_project.items():
            yield from self._encode_group(group, project)

    def _encode_group(self, spans: Sequence[ReadableSpan], project: str | None) -> Iterator[Batch]:
        try:
            body = encode(spans).SerializeToString()
        except Exception as error:  # noqa: BLE001 - whatever is in a request; the others must not pay for it
            if len(spans) == 1:
                self.lose("unencodable", 1, because=f"{type(error).__name__}: {error}")
                return
        else:
            if len(body) <= MAX_REQUEST_BYTES or len(spans) == 1:
                yield Batch(body, len(spans), project)
                return
        for part in (spans[: len(spans) // 2], spans[len(spans) // 2 :]):
            yield from self._encode_group(part, project)

    def _keep(self, batch: Batch, *, in_front: bool = False) -> None:
        """Put a request where it waits: on disk while the receiver is away, else in memory."""
        why = "memory is full"
        if self._spool is not None and (self._is_away or self._encoded_bytes > self._max_encoded_bytes // 2):
            try:
                self._spool.put(batch)
            except NoRoom as error:
                why = str(error)
            else:
                return
        if self._encoded_bytes + len(batch.body) > self._max_encoded_bytes:
            self.lose("no_room", batch.num_spans, because=why)
            return
        (self._encoded.appendleft if in_front else self._encoded.append)(batch)
        self._encoded_bytes += len(batch.body)
        self._num_encoded += batch.num_spans

    def _keep_elsewhere(self) -> None:
        """Put what is in memory where requests wait now: on disk, as far as it takes them."""
        waiting, self._encoded, self._encoded_bytes = self._encoded, deque(), 0
        for batch in waiting:
            self._keep(batch)
            self._num_encoded -= batch.num_spans

    # --- the sending thread

    def _send_all(self) -> None:
        retry_s, num_unclear = self._first_retry_s, 0
        while (found := self._next()) is not None:
            batch, is_spooled = found
            outcome = self._attempt(batch)
            if outcome.verdict is Verdict.LATER and outcome.reason.startswith(("INTERNAL", "UNKNOWN", "500")):
                num_unclear += 1
                if num_unclear >= MAX_UNCLEAR:
                    outcome = Outcome(Verdict.NEVER, outcome.reason)
            if outcome.verdict is not Verdict.LATER:
                num_unclear = 0
            with self._lock:
                self._settle(batch, outcome, is_spooled=is_spooled)
                self._lock.notify_all()
                if outcome.verdict is not Verdict.LATER:
                    retry_s = self._first_retry_s
                    continue
                if self._is_closing:
                    return
                self._lock.wait_for(lambda: self._is_closing, max(retry_s, outcome.wait_s))
            retry_s = min(MAX_RETRY_S, 2 * retry_s)

    def _next(self) -> tuple[Batch, bool] | None:
        """Return the next request and whether it is on disk, where it stays until it is taken; None at the end."""
        with self._lock:
            while True:
                if self._encoded:
                    batch = self._encoded[0]
                    return batch, False
                if self._is_closing:
                    # What is on disk waits there for the next start.
                    if not self._ended and not self._num_encoding:
                        return None
                elif self._spool is not None and (first := self._spool.first()) is not None:
                    return first, True
                self._lock.wait(BATCH_DELAY_S)

    def _attempt(self, batch: Batch) -> Outcome:
        own = self._own_keys
        outcome = self._sender.send(batch.body, None if own is None else own.find(batch.project))
        if not outcome.needs_key or own is None:
            return outcome
        if (made := own.make(batch.project)) is not None:
            log.info("the receiver asks for keys: the gateway made itself one", project=batch.project)
            return self._sender.send(batch.body, made)
        return Outcome(Verdict.LATER, f"{outcome.reason}; {own.trouble}")

    def _settle(self, batch: Batch, outcome: Outcome, *, is_spooled: bool) -> None:
        """Take a request from where it waited, unless it is to be sent again."""
        halves: list[Batch] = []
        was_away, self._is_away = self._is_away, outcome.verdict is Verdict.LATER
        if outcome.verdict is Verdict.LATER:
            if self._trouble is None or self._trouble[0] != outcome.reason:
                self._trouble = (outcome.reason, _now() if self._trouble is None else self._trouble[1])
                log.warning("the receiver takes no spans; they wait", reason=outcome.reason)
            self._keep_elsewhere()
            return
        self._trouble = None
        match outcome.verdict:
            case Verdict.TAKEN:
                self.num_exported += batch.num_spans - outcome.num_refused
                if outcome.num_refused:
                    self.lose("refused", outcome.num_refused, because=outcome.reason)
                if was_away:
                    log.info("the receiver takes spans again")
            case Verdict.TOO_LARGE if batch.num_spans > 1:
                halves = [Batch(body, num_spans, batch.project) for body, num_spans in halve(batch.body)]
            case _:
                self.lose("refused", batch.num_spans, because=outcome.reason)
        if is_spooled:
            assert self._spool is not None, "it came from there"
            self._spool.drop_first()
        elif self._encoded and self._encoded[0] is batch:  # else it was put on disk while this was under way
            self._encoded.popleft()
            self._encoded_bytes -= len(batch.body)
            self._num_encoded -= batch.num_spans
        for half in reversed(halves):
            self._keep(half, in_front=True)

    # --- the end

    def shutdown(self) -> None:
        """Do nothing: `close` ends it, within a time."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until everything in memory was sent or is on disk."""
        with self._lock:
            return self._lock.wait_for(self._is_empty, timeout_millis / 1000)

    def _is_empty(self) -> bool:
        return not self._ended and not self._num_encoding and not self._encoded

    def close(self, timeout_s: float) -> None:
        """Send what is in memory, but for no longer than this; what is left then goes to disk."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            self._is_closing = True
            self._lock.notify_all()
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        self._sender.close()
        self._threads[1].join(1)
        with self._lock:
            self._is_away = True
            self._keep_elsewhere()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
