"""Logged conversations of an agent with a calculator, and candidates that answer in Python."""

import json
from typing import Any

from spanloop.replay.asking import Answer
from tests.logged import transition

SYSTEM = {"role": "system", "text": "Use the calculator."}
TOOLS = [
    {
        "name": "calculator",
        "description": "Work it out.",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
    }
]


def calling(expression: str, *, call_id: str = "c1", name: str = "calculator") -> dict[str, Any]:
    """Return an answer that calls the calculator."""
    call = {"id": call_id, "name": name, "arguments": {"expression": expression}}
    return {"role": "assistant", "text": None, "tool_calls": [call]}


def saying(text: str) -> dict[str, Any]:
    """Return an answer in words."""
    return {"role": "assistant", "text": text, "tool_calls": []}


def told(text: str, *, call_id: str = "c1") -> dict[str, Any]:
    """Return what the calculator said."""
    return {"role": "tool", "text": text, "tool_call_id": call_id}


def attempt(
    task: str, expression: str, result: str, answer: str, *, number: int = 0, outcome: float | None = 1.0, **fields: Any
) -> list[dict[str, Any]]:
    """Return the two transitions of one attempt: a calculation, then the answer."""
    episode = f"{task}-{number}"
    asked = [SYSTEM, {"role": "user", "text": f"{task}?"}]
    common: dict[str, Any] = {
        "episode_id": episode,
        "task_id": task,
        "trace_id": f"{abs(hash(episode)):032x}"[:32],
        "tools": json.dumps(TOOLS),
        "outcome": outcome,
        "params": "{}",
        "evidence": "D",
        "split": "heldout",
        "start_ns": 1_000_000_000,
        "end_ns": 1_500_000_000,
        "prompt_token_ids": None,
        "response_token_ids": None,
        "behavior_logprobs": None,
    } | fields
    first = transition(
        **common,
        span_id=f"{episode}-a",
        next_span_id=f"{episode}-b",
        observation=json.dumps(asked),
        action=json.dumps(calling(expression)),
    )
    second = transition(
        **common,
        step=1,
        span_id=f"{episode}-b",
        observation=json.dumps([*asked, calling(expression), told(result)]),
        action=json.dumps(saying(answer)),
    )
    return [first, second]


class Scripted:
    """A candidate: what it calls by what it is asked, and what it says of the result."""

    def __init__(self, expressions: dict[str, str], *, say: str = "{}") -> None:
        self.expressions = expressions
        self.say = say
        self.asked: list[dict[str, Any]] = []

    def __call__(self, body: dict[str, Any]) -> Answer:
        """Answer as a chat API does."""
        self.asked.append(body)
        last = body["messages"][-1]
        question = next(m["content"] for m in body["messages"] if m["role"] == "user").removesuffix("?")
        message = saying(self.say.format(last["content"])) if last["role"] == "tool" else None
        return Answer(message or calling(self.expressions[question]), "stop", 0.1, (10, 2))
