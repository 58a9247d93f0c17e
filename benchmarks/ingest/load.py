"""The load of the receiver's benchmarks: export requests of 512 spans, serialised before the clock starts.

`small` is 20 attributes, 0.9 KB a span, each value another. `llm` is agent trees of 16 spans, 6 KB a span on average:
nine model calls whose conversation grows from 4 to 16 KB of messages, five tools, an HTTP call and the agent. `texts`
is the worst for compression: `small` with 4 to 16 KB of words that no span near it repeats. Only the ids are patched
per send, so that every span is new; bodies recur after as many requests as there are bodies.
"""

import itertools
import json
import random
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SPANS_A_REQUEST = 512
SPANS_A_TRACE = 16
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MARK = b"\xaa\xaa\xaa\xaa"
"""Twice the first half of each trace id of a body, once that of each span id; every send puts its number there."""
STARTED_NS = 1_760_000_000_000_000_000


class Texts:
    """Text that nobody has read before: pieces of one long line of words, each begun somewhere else."""

    NUM_WORDS = 1_500_000

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._line = " ".join(chance.choices([f"word{number}" for number in range(9973)], k=self.NUM_WORDS))

    def take(self, num_bytes: int) -> str:
        """Return so many bytes of it."""
        start = self._chance.randrange(len(self._line) - num_bytes)
        return self._line[start : start + num_bytes]


def make_bodies(mix: str, num_bodies: int, *, attributes_of_resource: dict[str, str] | None = None) -> list[bytes]:
    """Return serialised requests, the same ones at every call."""
    chance = random.Random(17)
    texts = Texts(chance) if mix != "small" else None
    return [_body(mix, chance, texts, number, attributes_of_resource or {}) for number in range(num_bodies)]


def _body(
    mix: str, chance: random.Random, texts: Texts | None, number: int, attributes_of_resource: dict[str, str]
) -> bytes:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    _add(resource_spans.resource, {"service.name": "bench", **attributes_of_resource})
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "bench"
    for trace in range(SPANS_A_REQUEST // SPANS_A_TRACE):
        first = trace * SPANS_A_TRACE
        trace_ns = STARTED_NS + (number * SPANS_A_REQUEST + first) * 1_000_000
        spans = [
            scope_spans.spans.add(
                trace_id=MARK + MARK + trace.to_bytes(8, "big"),
                span_id=MARK + (first + index).to_bytes(4, "big"),
                parent_span_id=MARK + first.to_bytes(4, "big") if index else b"",
                start_time_unix_nano=trace_ns + index * 1_000_000 + chance.randrange(1_000_000),
                end_time_unix_nano=trace_ns + (index + 1) * 1_000_000 + chance.randrange(1_000_000),
            )
            for index in range(SPANS_A_TRACE)
        ]
        if mix == "llm" and texts:
            _fill_agent(spans, chance, texts)
        else:
            _fill_small(spans, chance)
        if mix == "texts" and texts:
            for span in spans:
                _add(span, {"app.text": texts.take(4_000 + chance.randrange(12_000))})
    return request.SerializeToString()


def _fill_small(spans: Sequence[Span], chance: random.Random) -> None:
    for index, span in enumerate(spans):
        span.name, span.kind = f"operation {index % 7}", 1 + index % 5
        values = (chance.getrandbits(24) if key % 3 == 0 else f"{chance.getrandbits(32):08x}" * 3 for key in range(20))
        _add(span, {f"app.attribute.{key}": value for key, value in enumerate(values)})


def _fill_agent(spans: Sequence[Span], chance: random.Random, texts: Texts) -> None:
    agent, *steps = spans
    agent.name, agent.kind = "invoke_agent planner", 1
    messages = [_message("system", texts.take(2500)), _message("user", texts.take(1500))]
    _add(agent, {"gen_ai.operation.name": "invoke_agent", "gen_ai.input.messages": json.dumps(messages)})
    for index, span in enumerate(steps):
        common = {"gen_ai.provider.name": "openai", "server.address": "api.example.com", "app.step": index}
        if index == len(steps) - 1:
            span.name, span.kind = "POST", 3
            _add(span, {**common, "http.response.status_code": 200, "url.full": f"https://example.com/{index}"})
        elif index % 3 == 1:
            result = texts.take(500 + chance.randrange(600))
            span.name, span.kind = f"execute_tool search_{index}", 1
            _add(span, {**common, "gen_ai.tool.name": "search", "gen_ai.tool.call.result": result})
            span.events.add(name="retry", time_unix_nano=span.start_time_unix_nano)
            messages.append(_message("tool", result))
        else:
            answer = _message("assistant", texts.take(300 + chance.randrange(300)))
            span.name, span.kind = "chat gpt-large", 3
            called = {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "gpt-large",
                "gen_ai.response.id": f"chatcmpl-{chance.getrandbits(96):024x}",
                "gen_ai.usage.input_tokens": chance.randrange(4000),
                "gen_ai.usage.output_tokens": chance.randrange(400),
                "gen_ai.request.temperature": chance.random(),
                "gen_ai.input.messages": json.dumps(messages),
                "gen_ai.output.messages": json.dumps([answer]),
            }
            _add(span, {**common, **called})
            limits = KeyValueList(values=[KeyValue(key="tier", value=AnyValue(string_value="high"))])
            span.attributes.append(KeyValue(key="app.limits", value=AnyValue(kvlist_value=limits)))
            messages += [answer, _message("user", texts.take(100 + chance.randrange(200)))]


def _message(role: str, content: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def _add(holder: object, values: dict[str, str | int | float]) -> None:
    attributes = holder.attributes  # type: ignore[attr-defined]
    for key, value in values.items():
        match value:
            case int():
                attributes.append(KeyValue(key=key, value=AnyValue(int_value=value)))
            case float():
                attributes.append(KeyValue(key=key, value=AnyValue(double_value=value)))
            case _:
                attributes.append(KeyValue(key=key, value=AnyValue(string_value=value)))


def numbered(body: bytes, number: int) -> bytes:
    """Return a request with ids of its own."""
    return body.replace(MARK, number.to_bytes(4, "big"))


def trace_id(number: int, trace: int = 0) -> str:
    """Return the id, in hex, of a trace of the request with a number."""
    return f"{number:08x}{number:08x}{trace:016x}"


class Sender(threading.Thread):
    """Keeps one request in flight until the numbers run out."""

    def __init__(self, address: str, bodies: Sequence[bytes], numbers: Iterator[int], lock: threading.Lock) -> None:
        super().__init__()
        self.latencies: list[float] = []
        self.refused = 0
        self.acknowledged: tuple[int, float] | None = None
        """Number of the last request that was acknowledged, and when."""
        self.failure: BaseException | None = None
        """What ended it before all was sent."""
        self._address, self._bodies, self._numbers, self._lock = address, bodies, numbers, lock

    def run(self) -> None:
        """Send, and note what ended it."""
        try:
            self._send()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self.failure = error

    def finish(self) -> None:
        """Wait until all is sent. Raises what ended it before."""
        self.join()
        if self.failure is not None:
            raise self.failure

    def _send(self) -> None:
        """Send; what is refused as UNAVAILABLE is sent again after a second, and its latency includes that."""
        with grpc.insecure_channel(self._address, options=[("grpc.max_send_message_length", 1 << 28)]) as channel:
            export = channel.unary_unary(EXPORT)
            while True:
                with self._lock:
                    number = next(self._numbers, None)
                if number is None:
                    return
                body = numbered(self._bodies[number % len(self._bodies)], number)
                began = time.perf_counter()
                while True:
                    try:
                        export(body, timeout=60)
                        break
                    except grpc.RpcError as error:
                        if error.code() is not grpc.StatusCode.UNAVAILABLE:
                            raise
                        self.refused += 1
                        time.sleep(1)
                now = time.perf_counter()
                self.latencies.append(now - began)
                self.acknowledged = (number, now)


def start(address: str, bodies: Sequence[bytes], numbers: Iterable[int], *, in_flight: int) -> list[Sender]:
    """Begin to send the requests with these numbers."""
    shared, lock = iter(numbers), threading.Lock()
    senders = [Sender(address, bodies, shared, lock) for _ in range(in_flight)]
    for sender in senders:
        sender.start()
    return senders


def send(address: str, bodies: Sequence[bytes], num_requests: int, *, in_flight: int) -> tuple[list[Sender], float]:
    """Send requests numbered from 1 and return who sent them and how many seconds it took."""
    began = time.perf_counter()
    senders = start(address, bodies, range(1, num_requests + 1), in_flight=in_flight)
    for sender in senders:
        sender.finish()
    return senders, time.perf_counter() - began


def until(seconds: float) -> Iterator[int]:
    """Yield numbers from 1 on for so long."""
    over = time.perf_counter() + seconds
    yield from itertools.takewhile(lambda _: time.perf_counter() < over, itertools.count(1))
