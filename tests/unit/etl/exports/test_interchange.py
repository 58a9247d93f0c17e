"""Transitions in the formats of other trainers, one line each."""

from typing import Any

import pytest

from etl.exports.interchange import FORMATS, openai_refuses

ROW: dict[str, Any] = {
    "project": "p",
    "episode_id": "e",
    "trace_id": "t",
    "span_id": "s",
    "agent": "clerk",
    "step": 1,
    "task_id": "k",
    "split": "train",
    "outcome": 1.0,
    "return_": 0.9,
    "observation": [
        {"role": "user", "text": "hi"},
        {"role": "assistant", "text": None, "tool_calls": [{"id": "c", "name": "f", "arguments": {"a": 1}}]},
        {"role": "tool", "text": "84", "tool_call_id": "c"},
    ],
    "action": {"role": "assistant", "text": "ho", "tool_calls": [], "refusal": None, "finish_reason": "stop"},
    "next_observation": None,
    "tools": [{"name": "f", "description": None, "parameters": {"type": "object"}}],
    "params": {},
    "signals": {},
}
PROMPT = [
    {"role": "user", "content": "hi"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
    },
    {"role": "tool", "content": "84", "tool_call_id": "c"},
]
ANSWER = {"role": "assistant", "content": "ho"}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def test_openai() -> None:
    """The answer is the last message."""
    assert FORMATS["openai"](ROW) == {"messages": [*PROMPT, ANSWER], "tools": TOOLS}
    assert "tools" not in FORMATS["openai"]({**ROW, "tools": None})


def test_trl() -> None:
    """Prompt and completion are conversations."""
    assert FORMATS["trl"](ROW) == {
        "prompt": PROMPT,
        "completion": [ANSWER],
        "tools": TOOLS,
        "reward": 0.9,
        "label": True,
    }


def test_verl() -> None:
    """The prompt is sampled anew, so the logged answer is extra."""
    row = FORMATS["verl"](ROW)

    assert (row["prompt"], row["reward_model"]["ground_truth"]) == (PROMPT, 1.0)
    assert (row["extra_info"]["answer"], row["extra_info"]["return"]) == (ANSWER, 0.9)


def test_datasets() -> None:
    """Every message has the same fields, every column one type."""
    row = FORMATS["datasets"](ROW)

    assert {tuple(message) for message in row["messages"]} == {
        ("role", "content", "parts", "reasoning_content", "tool_calls", "tool_call_id")
    }
    assert row["return_"] == 0.9
    assert isinstance(row["tools"], str)


@pytest.mark.parametrize("name", FORMATS)
def test_an_unknown_outcome_stays_unknown(name: str) -> None:
    """Null is not zero."""
    line = FORMATS[name]({**ROW, "outcome": None, "return_": None})

    assert 0.0 not in (line.get("reward"), line.get("label"), line.get("outcome"))


def call(identifier: str | None) -> dict[str, Any]:
    """Return an assistant's message that asks for a tool."""
    asked = {"id": identifier, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return {"role": "assistant", "content": None, "tool_calls": [asked]}


def result(identifier: str) -> dict[str, Any]:
    """Return a tool's message."""
    return {"role": "tool", "content": "84", "tool_call_id": identifier}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([PROMPT[0], call("c"), result("c"), ANSWER], None),
        ([PROMPT[0], call("c")], None),
        ([{"role": "user", "content": None}, ANSWER], "no_content"),
        ([{"role": "critic", "content": "hm"}, ANSWER], "unknown_role"),
        ([PROMPT[0], result("c"), ANSWER], "tool_result_without_call"),
        ([PROMPT[0], call("c"), result("c"), result("c"), ANSWER], "tool_result_without_call"),
        ([PROMPT[0], call("c"), ANSWER], "tool_call_without_result"),
        ([PROMPT[0], call(None), ANSWER], "tool_call_without_id"),
    ],
)
def test_what_openai_refuses(messages: list[dict[str, Any]], reason: str | None) -> None:
    """One line that is refused fails a whole file: it is left out, with the reason."""
    assert openai_refuses({"messages": messages}) == reason
