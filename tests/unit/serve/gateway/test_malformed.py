"""Requests of real clients, damaged at random: refused or passed on, each leaves its span, and nothing is used up.

`RELIABILITY=long` sends a million.
"""

import asyncio
import copy
import json
import random
from collections import Counter, deque
from typing import Any

import aiohttp
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


def damaged(body: dict[str, Any], choice: random.Random) -> bytes:
    """Return a request with one to three of its parts exchanged, lost, doubled or nested; now and then torn bytes."""
    body = copy.deepcopy(body)
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


@pytest.mark.timeout(times(short=300, long=14_400))
def test_no_request_is_a_500_or_costs_evidence() -> None:
    """Whatever of it is odd: an answer in OpenAI's shape, one span a call that reached the engine, none lost."""
    num_requests, seed = times(short=1500, long=1_000_000), random.randrange(2**32)
    choice = random.Random(seed)
    statuses: Counter[int] = Counter()
    sender = Counting()
    evidence = Delivery(sender, None)

    async def send(session: aiohttp.ClientSession, url: str, num: int) -> None:
        for _ in range(num):
            path, body = choice.choice(REQUESTS)
            content = damaged(body, choice)
            headers = {"Content-Type": "application/json"}
            async with session.post(f"{url}/v1/{path}", data=content, headers=headers) as response:
                answer = await response.read()
            assert response.status < 500, f"seed {seed}: {response.status} for {content!r}: {answer[:300]!r}"
            if response.status != 200:
                assert json.loads(answer)["error"]["message"], f"seed {seed}: {content!r}"
            statuses[response.status] += 1

    async def scenario() -> None:
        async with CardboardEngine().running() as engine:
            engine.answer = {"id": "1", "choices": [{"index": 0, "message": {"content": "hi"}, "token_ids": [7]}]}
            engine.asked = deque(maxlen=1)  # type: ignore[assignment]  # a million would not fit
            gateway = Gateway("base", NEUTRAL, make_provider(evidence).get_tracer("t"), evidence=evidence)
            gateway.admission.begin(Serving(engine, "base", Policy("v1", None, None)))  # type: ignore[arg-type]
            runner = web.AppRunner(gateway.make_app(), handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            patient = aiohttp.ClientTimeout(total=None, sock_connect=None)  # a busy machine is not the gateway's fault
            async with aiohttp.ClientSession(timeout=patient) as session:
                await asyncio.gather(*(send(session, url, num_requests // 10) for _ in range(10)))
            await runner.cleanup()
            assert gateway.admission.num_in_flight == 0

    asyncio.run(scenario())
    evidence.close(30)

    counts = evidence.counts()
    assert sender.num_spans == counts["num_spans_exported"]
    lost = {name: count for name, count in counts.items() if name != "num_spans_exported" and count}
    assert not lost, f"seed {seed}"
    assert statuses[200] <= sender.num_spans <= num_requests, f"seed {seed}"
    assert statuses[400] > 0
