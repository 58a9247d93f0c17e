"""Requests of real clients, damaged at random: refused or passed on, each leaves its span, and nothing is used up.

`RELIABILITY=long` sends a million.
"""

import asyncio
import copy
import json
import random
from collections import Counter
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from serve.admission import Serving
from serve.evidence.delivery import Delivery
from serve.evidence.sending import Outcome, Sender, Verdict
from serve.evidence.spans import Policy, make_provider
from serve.gateway.endpoint import Gateway
from serve.sampling import NEUTRAL
from tests.scale import times
from tests.serving import CardboardEngine

TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}},
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    (
        "chat/completions",
        {
            "model": "base:live",
            "messages": [
                {"role": "system", "content": "You add."},
                {"role": "user", "content": [{"type": "text", "text": "1+1?"}]},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "2"},
            ],
            "tools": [TOOL],
            "tool_choice": "auto",
            "temperature": 0.7,
            "max_tokens": 16,
            "stop": ["\n", "END"],
            "seed": 7,
            "user": "u",
            "response_format": {"type": "text"},
            "stream": False,
        },
    ),
    ("completions", {"model": "base", "prompt": [1, 2, 3], "max_tokens": 4, "logprobs": 1, "n": 1, "top_p": 0.9}),
    (
        "responses",
        {
            "model": "base:live",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "1+1?"}]}],
            "instructions": "You add.",
            "tools": [{"type": "function", "name": "add", "parameters": {}}],
            "max_output_tokens": 16,
        },
    ),
]
ODD: list[Any] = [
    None, True, 0, -1, 2**70, -(2**63), 0.5, 1e308, "", "x", chr(0xD800), "\0", "\u202e", [], [[]], {}, {"": {}},
    ["a", 1], [1, 2, 3, 4, 5, 6, 7, 8, "a"], {"type": []}, {"function": 5}, [None], "a" * 5000,
]  # fmt: skip


WHOLE = [(path, orjson.dumps(body)) for path, body in REQUESTS]


def damaged(whole: bytes, choice: random.Random) -> bytes:
    """Return a request with one to three of its parts exchanged, lost, doubled or nested; now and then torn bytes."""
    body: dict[str, Any] = orjson.loads(whole)
    for _ in range(choice.randint(1, 3)):
        holder: Any = body
        while True:
            place = choice.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            if isinstance(holder[place], dict | list) and holder[place] and choice.random() < 0.7:
                holder = holder[place]
                continue
            break
        match choice.randrange(4):
            case 0:
                del holder[place]
            case 1:
                holder[place] = [copy.deepcopy(holder[place]) for _ in range(choice.randint(1, 3))]
            case _:
                holder[place] = copy.deepcopy(choice.choice(ODD))
        if not body:
            break
    content = json.dumps(body).encode()
    if choice.random() < 0.1:
        torn = bytearray(content)
        torn[choice.randrange(len(torn))] = choice.randrange(256)
        content = bytes(torn[: choice.randint(1, len(torn))])
    return content


class Counting(Sender):
    """Takes everything and counts the spans."""

    endpoint = "http://127.0.0.1:4317"

    def __init__(self) -> None:
        self.num_spans = 0

    def send(self, body: bytes, key: str | None) -> Outcome:  # noqa: ARG002 - the signature
        request = ExportTraceServiceRequest.FromString(body)
        self.num_spans += sum(len(scope.spans) for each in request.resource_spans for scope in each.scope_spans)
        return Outcome(Verdict.TAKEN)

    def close(self) -> None:
        pass


PIPELINED, NUM_SENDERS = 20, 10
"""Requests on their way on a connection, and connections."""


class Engine(CardboardEngine):
    """Says the same to every request, by a protocol that reads no further than where one ends."""

    ANSWER = orjson.dumps(
        {"id": "1", "choices": [{"index": 0, "message": {"content": "hi"}, "token_ids": [7]}], "usage": {}}
    )

    async def begin(self) -> asyncio.Server:
        """Listen."""
        server = await asyncio.get_running_loop().create_server(lambda: Answering(self.ANSWER), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server


class Answering(asyncio.Protocol):
    """A connection of the engine's."""

    def __init__(self, answer: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
        self._answer = head.encode() + answer
        self._left = bytearray()

    def connection_made(self, transport: Any) -> None:
        """Remember who is to be answered."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._left += data
        while (end := self._left.find(b"\r\n\r\n")) >= 0:
            end += 4 + content_length(bytes(self._left[:end]))
            if len(self._left) < end:
                return
            del self._left[:end]
            self._transport.write(self._answer)


def content_length(head: bytes) -> int:
    """Return how long the body behind the head of a message is."""
    lines = head.lower().split(b"\r\n")
    return int(next(line for line in lines if line.startswith(b"content-length:")).partition(b":")[2])


async def send(port: int, choice: random.Random, num_requests: int, statuses: Counter[int], seed: int) -> None:
    """Send requests, several at a time on one connection, and look at every answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for start in range(0, num_requests, PIPELINED):
        sent = []
        for _ in range(min(PIPELINED, num_requests - start)):
            path, whole = choice.choice(WHOLE)
            content = damaged(whole, choice)
            head = f"POST /v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            sent.append(content)
        for content in sent:
            head = await reader.readuntil(b"\r\n\r\n")
            answer = await reader.readexactly(content_length(head))
            status = int(head[9:12])
            assert status < 500, f"seed {seed}: {status} for {content!r}: {answer[:300]!r}"
            if status != 200:
                assert orjson.loads(answer)["error"]["message"], f"seed {seed}: {content!r}"
            statuses[status] += 1
    writer.close()
    await writer.wait_closed()


@pytest.mark.timeout(times(short=300, long=14_400))
def test_no_request_is_a_500_or_costs_evidence() -> None:
    """Whatever of it is odd: an answer in OpenAI's shape, one span a call that reached the engine, none lost."""
    num_requests, seed = times(short=3000, long=1_000_000), random.randrange(2**32)
    statuses: Counter[int] = Counter()
    sender = Counting()
    evidence = Delivery(sender, None)

    async def scenario() -> None:
        engine = Engine()
        server = await engine.begin()
        async with server, aiohttp.ClientSession() as engine.session:
            gateway = Gateway("base", NEUTRAL, make_provider(evidence).get_tracer("t"), evidence=evidence)
            gateway.admission.begin(Serving(engine, "base", Policy("v1", None, None)))  # type: ignore[arg-type]
            runner = web.AppRunner(gateway.make_app(), handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]
            senders = [
                send(port, random.Random(seed + place), num_requests // NUM_SENDERS, statuses, seed + place)
                for place in range(NUM_SENDERS)
            ]
            await asyncio.gather(*senders)
            await runner.cleanup()
            assert gateway.admission.num_in_flight == 0

    asyncio.run(scenario())
    evidence.close(30)

    counts = evidence.counts()
    assert sender.num_spans == counts["num_spans_exported"]
    lost = {name: count for name, count in counts.items() if name != "num_spans_exported" and count}
    assert not lost, f"seed {seed}"
    assert statuses.total() == num_requests
    assert statuses[200] <= sender.num_spans <= num_requests, f"seed {seed}"
    assert statuses[400] > 0
