import json
from pathlib import Path

from serve.change.heldout import prompts_digest, read_prompts
from tests.logged import publish, transition

TOOL = {"name": "add", "description": None, "parameters": {"type": "object"}}


def observed(text: str, **fields: object) -> dict[str, object]:
    return transition(observation=json.dumps([{"role": "user", "text": text}]), **fields)


def test_prompts_are_held_out_distinct_and_the_same_every_time(tmp_path: Path) -> None:
    """What was trained on is no test; asked twice, the same prompts; of fewer, the first of those."""
    rows = [observed(f"task {number % 5}", split="heldout", span_id=f"{number:016}") for number in range(10)]
    rows += [observed("seen", split="train"), transition(observation=None, split="heldout")]
    data = publish(tmp_path, rows)

    prompts = read_prompts(data, 64)

    assert sorted(prompt.messages[0]["content"] for prompt in prompts) == [f"task {number}" for number in range(5)]
    assert read_prompts(data, 2) == prompts[:2]
    assert prompts_digest(prompts) == prompts_digest(read_prompts(data, 64)) != prompts_digest(prompts[:2])


def test_prompts_have_the_shape_an_engine_is_asked_in(tmp_path: Path) -> None:
    """Calls with their arguments as text, results by id, tools as functions."""
    call = {"id": "c", "name": "add", "arguments": {"a": 1}}
    messages = [
        {"role": "user", "text": "1+1"},
        {"role": "assistant", "text": None, "tool_calls": [call]},
        {"role": "tool", "text": "2", "tool_call_id": "c"},
    ]
    row = transition(observation=json.dumps(messages), tools=json.dumps([TOOL]), split="heldout")

    (prompt,) = read_prompts(publish(tmp_path, [row]), 1)

    assert prompt.messages[1]["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    ]
    assert prompt.messages[2] == {"role": "tool", "content": "2", "tool_call_id": "c"}
    assert prompt.tools == [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    assert prompt.schemas == {"add": {"type": "object"}}


def test_without_a_dataset_there_is_nothing_to_ask(tmp_path: Path) -> None:
    """A gateway that serves before the first night has no held-out prompts."""
    assert read_prompts(tmp_path, 64) == []
