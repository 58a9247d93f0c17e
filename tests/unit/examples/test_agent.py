"""The stock agent: what its calculator works out, and what it sends to the model."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from agent import MAX_TURNS, build_agent, evaluate
from agents import Runner, set_tracing_disabled
from agents.exceptions import MaxTurnsExceeded
from episode import TOOLS, assistant_message, call_text, first_messages, play, tool_message
from openai import AsyncOpenAI
from problems import Problem

PROBLEM = Problem("There are 7 birds. 2 fly away. How many are left?", "7-2", 5)


@pytest.mark.parametrize(
    ("expression", "value"), [("3+4", 7), ("2 * (3 - 5)", -4), ("7/2", 3.5), ("8/2", 4), ("-3", -3)]
)
def test_the_calculator_works_out_sums(expression: str, value: float) -> None:
    """Whole results are int, so that the answer reads 4 and not 4.0."""
    assert repr(evaluate(expression)) == repr(value)


@pytest.mark.parametrize(
    "expression", ["", "3+", "3 4", "2**99999", "__import__('os')", "1" * 101, "9" * 5 + "x", "(" * 90]
)
def test_the_calculator_refuses_what_is_no_sum(expression: str) -> None:
    """The error becomes the tool's answer, and the span's status."""
    with pytest.raises(ValueError, match=r"only|expression"):
        evaluate(expression)


def run_agent(*answers: str) -> tuple[str, list[dict[str, Any]]]:
    """Run the agent on PROBLEM against a scripted model; return its answer and the requests it sent."""
    requests: list[dict[str, Any]] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        requests.append(json.loads(request.content))
        message = assistant_message(answers[len(requests) - 1])
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return httpx2.Response(200, json=answer)

    async def run() -> str:
        transport = httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
        async with AsyncOpenAI(base_url="http://model/v1", api_key="none", http_client=transport) as client:
            agent = build_agent(client, model="m", temperature=1.0)
            result = await Runner.run(agent, PROBLEM.text, max_turns=MAX_TURNS)
        return str(result.final_output)

    set_tracing_disabled(True)
    try:
        return asyncio.run(run()), requests
    finally:
        set_tracing_disabled(False)


@pytest.mark.parametrize("call", [call_text("7-2"), call_text("7-")])
def test_the_warm_start_plays_episodes_as_the_agent_does(call: str) -> None:
    """What the policy was taught on is what the Agents SDK sends: messages, tool results (errors too) and tools."""
    answer, requests = run_agent(call, "The answer is 5.")

    message = assistant_message(call)
    first = first_messages(PROBLEM)
    assert requests[0]["messages"] == first
    assert requests[1]["messages"] == [*first, message, tool_message(message["tool_calls"][0])]
    assert [request["tools"] for request in requests] == [TOOLS, TOOLS]
    assert answer == "The answer is 5."


def test_a_call_without_end_earns_nothing() -> None:
    """The agent stops after MAX_TURNS model calls, and so does the stand-in."""
    with pytest.raises(MaxTurnsExceeded):
        run_agent(*[call_text("7-2")] * MAX_TURNS)

    assert play([PROBLEM], lambda conversations: [call_text("7-2")] * len(conversations)) == [0.0]
