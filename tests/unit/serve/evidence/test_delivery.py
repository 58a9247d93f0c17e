"""The way of spans to the receiver, over a sender that answers as it is told."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_exporter.redaction import Redactor
from serve.api.answers import Choice, Recording
from serve.evidence.delivery import BATCH, Delivery
from serve.evidence.own_keys import OwnKeys
from serve.evidence.privacy import Privacy
from serve.evidence.sending import Outcome, Sender, Verdict
from serve.evidence.spans import Call, Caller, Policy, end_span, make_provider, start_span
from serve.evidence.spool import Batch, Spool
from tests.scale import within

TAKEN = Outcome(Verdict.TAKEN)
AWAY = Outcome(Verdict.LATER, "UNAVAILABLE: connection refused")


class Receiver(Sender):
    """Takes requests while it is `there`, and remembers the spans' ids and with which key they came."""

    endpoint = "http://127.0.0.1:4317"

    def __init__(self) -> None:
        self.answer: Callable[[int, str | None], Outcome] = lambda *_: TAKEN
        self.taken: dict[bytes, str | None] = {}
        self.hold = threading.Event()
        self.hold.set()
        self.bodies: list[bytes] = []

    def send(self, body: bytes, key: str | None) -> Outcome:
        self.hold.wait()
        self.bodies.append(body)
        spans = [
            span
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        outcome = self.answer(len(spans), key)
        if outcome.verdict is Verdict.TAKEN:
            assert not self.taken.keys() & {span.span_id for span in spans}, "a span came twice"
            self.taken |= {span.span_id: key for span in spans}
        return outcome

    def close(self) -> None:
        self.hold.set()


class Bench:
    """A delivery and whoever ends spans."""

    def __init__(self, receiver: Receiver, spool: Spool | None, own_keys: OwnKeys | None = None, **bounds: Any) -> None:
        self.receiver = receiver
        self.delivery = Delivery(receiver, spool, own_keys, first_retry_s=0.01, **bounds)
        self.tracer = make_provider(self.delivery).get_tracer("t")

    def end(self, num_spans: int = 1, *, project: str | None = None, **request: Any) -> None:
        """End so many calls."""
        for _ in range(num_spans):
            recording = Recording(id="r", prompt_token_ids=[1], choices={0: Choice(text="4", token_ids=[7])})
            call = Call(True, request, Policy("v", None, None), "vllm", recording, caller=Caller(project=project))
            span = start_span(self.tracer, {}, is_chat=True, model="base")
            end_span(self.tracer, span, call, 2**62, self.delivery)

    def wait(self, **counts: int) -> None:
        """Wait until so many spans are where."""
        deadline = time.monotonic() + within(10)
        while not counts.items() <= (found := self.delivery.counts()).items():
            assert time.monotonic() < deadline, found
            time.sleep(0.005)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def bench(tmp_path: Path, receiver: Receiver) -> Iterator[Bench]:
    one = Bench(receiver, Spool(tmp_path / "spool", max_bytes=1 << 24, min_free_bytes=0))
    yield one
    one.delivery.close(1)


def test_every_span_arrives_once(bench: Bench) -> None:
    """In as many requests as it takes."""
    bench.end(3 * BATCH + 1)

    bench.wait(num_spans_exported=3 * BATCH + 1, num_spans_waiting=0)
    assert len(bench.receiver.taken) == 3 * BATCH + 1


@pytest.mark.long
def test_a_receiver_that_is_away_loses_nothing(bench: Bench) -> None:
    """Far more spans than memory holds wait on disk, and leave it when the receiver is back."""
    bench.receiver.answer = lambda *_: AWAY
    bench.end(10)
    bench.wait(num_spans_spooled=10)
    for _ in range(10):
        bench.end(1000)
        bench.delivery.force_flush()
    assert "UNAVAILABLE" in str(bench.delivery.trouble)

    bench.receiver.answer = lambda *_: TAKEN
    bench.wait(num_spans_exported=10_010, num_spans_waiting=0, spool_bytes=0, num_spans_dropped=0)
    assert len(bench.receiver.taken) == 10_010
    assert bench.delivery.trouble is None


def test_nobody_who_answers_calls_waits_for_the_disk(tmp_path: Path, receiver: Receiver) -> None:
    """While the disk hangs, calls end, status is told, and what is too much is counted."""
    hangs, goes_on = threading.Event(), threading.Event()

    class Hanging(Spool):
        def put(self, batch: Batch) -> None:
            hangs.set()
            goes_on.wait()
            super().put(batch)

    receiver.answer = lambda *_: AWAY
    bench = Bench(receiver, Hanging(tmp_path / "spool", max_bytes=1 << 24, min_free_bytes=0), max_queued=5)
    bench.end(1)
    assert hangs.wait(10)
    try:
        calls = ThreadPoolExecutor(1)
        calls.submit(bench.end, 8).result(10)
        found = calls.submit(bench.delivery.counts).result(10)
    finally:
        goes_on.set()

    assert (found["num_spans_dropped"], found["num_spans_waiting"]) == (3, 6)
    bench.delivery.close(1)
    bench.wait(num_spans_spooled=6, num_spans_waiting=6)


def test_what_waits_outlives_the_gateway(tmp_path: Path) -> None:
    """Ended while the receiver is away, or hangs: the next start sends what was left, in memory or on disk."""
    for number, stuck in enumerate((False, True)):
        receiver = Receiver()
        receiver.answer = lambda *_: AWAY
        path = tmp_path / str(number)
        bench = Bench(receiver, Spool(path, max_bytes=1 << 24, min_free_bytes=0))
        if stuck:
            receiver.hold.clear()
        bench.end(300)
        bench.delivery.close(0.3)
        bench.wait(num_spans_spooled=300, num_spans_waiting=300)

        again = Bench(Receiver(), Spool(path, max_bytes=1 << 24, min_free_bytes=0))
        again.wait(num_spans_exported=300, num_spans_waiting=0)
        again.delivery.close(1)


@pytest.mark.long
def test_beyond_every_bound_spans_are_counted(tmp_path: Path, receiver: Receiver) -> None:
    """Spool full, memory full, queue full: each span is somewhere, waiting or in a number of lost ones."""
    receiver.answer = lambda *_: AWAY
    bench = Bench(receiver, Spool(tmp_path, max_bytes=150_000, min_free_bytes=0), max_encoded_bytes=150_000)
    for _ in range(20):
        bench.end(BATCH)
        bench.delivery.force_flush(200)
    bench.delivery.close(0.2)

    found = bench.delivery.counts()
    assert found["num_spans_dropped"] > 0
    assert found["num_spans_spooled"] > 0
    assert found["num_spans_dropped"] + found["num_spans_waiting"] == 20 * BATCH


def test_a_queue_that_is_full_costs_the_spans_that_come(tmp_path: Path, receiver: Receiver) -> None:
    """And no others: what waits arrives."""
    receiver.hold.clear()
    bench = Bench(receiver, None, max_queued=5, max_encoded_bytes=1)
    bench.end(50)
    receiver.hold.set()
    bench.delivery.close(5)

    found = bench.delivery.counts()
    assert found["num_spans_exported"] + found["num_spans_dropped"] == 50
    assert found["num_spans_waiting"] == 0


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": ["hello"]},
        {"messages": {"role": "user"}},
        {"messages": [{"role": "user", "content": 5, "tool_calls": ["x", {"function": "f"}]}]},
        {"tools": "abc"},
        {"tools": [5, {"function": 5}, {"type": "function"}]},
        {"response_format": "json"},
        {"response_format": ["json"]},
        {"stop": [1, 2, 3, 4, 5, 6, 7, 8, "a"]},
        {"stop": {"a": 1}},
        {"seed": 2**70, "top_k": "many", "n": {}, "max_tokens": [1], "temperature": 10**400},
        {"messages": [{"role": "user", "content": chr(0xD800)}], "stop": chr(0xDFFF)},
        {"messages": [{"role": "user", "content": [{"text": 2**70}]}]},
        {"tool_choice": {"a": []}, "logit_bias": [1]},
    ],
)
def test_an_odd_request_costs_no_evidence(bench: Bench, request_: dict[str, Any]) -> None:
    """Neither its own span nor those in the same request, nor a place in the queue."""
    bench.end(3)
    bench.end(1, **request_)
    bench.end(3)

    bench.wait(num_spans_exported=7, num_spans_waiting=0, num_spans_unencodable=0)


def test_a_span_that_cannot_be_encoded_costs_itself_alone(bench: Bench) -> None:
    """Whatever it was that we did not think of: the others of its request arrive, and it is counted."""
    bench.end(20)
    for recording in (Recording(prompt_token_ids=[*[1] * 9, "x"]), Recording(choices={0: None})):  # type: ignore[dict-item, list-item]
        call = Call(True, {}, Policy("v", None, None), "vllm", recording)
        end_span(bench.tracer, start_span(bench.tracer, {}, is_chat=True, model="base"), call, 2**62, bench.delivery)
    bench.end(20)

    bench.wait(num_spans_exported=40, num_spans_waiting=0, num_spans_unencodable=2)


def test_what_is_refused_for_good_is_counted_and_keeps_nobody_waiting(bench: Bench) -> None:
    """Whole requests, and parts of them."""
    bench.receiver.answer = lambda *_: Outcome(Verdict.NEVER, "INVALID_ARGUMENT: no")
    bench.end(5)
    bench.wait(num_spans_failed=5)
    bench.receiver.answer = lambda *_: Outcome(Verdict.TAKEN, "two are not spans", num_refused=2)
    bench.end(5)

    bench.wait(num_spans_failed=7, num_spans_exported=3, num_spans_waiting=0)


def test_a_request_that_is_too_large_is_parted(bench: Bench) -> None:
    """Until it fits; a span that is too large on its own is lost, and counted."""
    bench.receiver.answer = lambda num_spans, _: TAKEN if num_spans <= 3 else Outcome(Verdict.TOO_LARGE, "4 MiB")
    bench.end(100)
    bench.wait(num_spans_exported=100, num_spans_waiting=0)

    bench.receiver.answer = lambda *_: Outcome(Verdict.TOO_LARGE, "4 MiB")
    bench.end(4)
    bench.wait(num_spans_failed=4, num_spans_waiting=0)


def test_a_request_the_receiver_stumbles_over_is_given_up_at_last(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep those behind it back for ever."""
    monkeypatch.setattr("serve.evidence.delivery.MAX_RETRY_S", 0.01)
    bench.receiver.answer = lambda num_spans, _: Outcome(Verdict.LATER, "INTERNAL: bug") if num_spans == 5 else TAKEN
    bench.end(5)
    bench.wait(num_spans_spooled=5)
    bench.end(7)

    bench.wait(num_spans_failed=5, num_spans_exported=7, num_spans_waiting=0)


def test_an_error_nobody_thought_of_does_not_end_delivery(bench: Bench) -> None:
    """Of the library that sends, say: it is tried again, and status says what happened meanwhile."""

    def break_off(*_: object) -> Outcome:
        raise RuntimeError("no such channel")

    bench.receiver.answer = break_off
    bench.end(3)
    deadline = time.monotonic() + 10
    while "no such channel" not in str(bench.delivery.trouble):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    bench.receiver.answer = lambda *_: TAKEN

    bench.wait(num_spans_exported=3, num_spans_waiting=0)


def test_what_is_to_be_left_out_never_leaves(receiver: Receiver) -> None:
    """Content by the switch, secrets by redaction; a span redaction stumbles over costs itself alone."""

    class Stumbling(Redactor):
        def span(self, *parts: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
            if "stumble" in str(parts):
                raise ZeroDivisionError
            return super().span(*parts)

    bench = Bench(receiver, None, privacy=Privacy(redactor=Stumbling()))
    for said in ("mail alice@example.com", "stumble", "nothing"):
        bench.end(messages=[{"role": "user", "content": said}])
    bench.delivery.close(10)
    bare = Bench(receiver, None, privacy=Privacy(captures_content=False))
    bare.end(messages=[{"role": "user", "content": "a prompt"}])
    bare.delivery.close(10)

    sent = b"".join(receiver.bodies)
    assert b"<EMAIL_" in sent
    assert b"alice@example.com" not in sent
    assert b"a prompt" not in sent
    assert bench.delivery.counts() == {**bare.delivery.counts(), "num_spans_exported": 2, "num_spans_unencodable": 1}
