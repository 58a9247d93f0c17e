"""Logged calls of a hosted model in text, as the ETL publishes them."""

import json
from typing import Any

from tests.logged import transition

TOOLS = json.dumps(
    [{"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}]
)


def call(
    task: str, answer: str | None, *, number: int = 0, question: str | None = None, **fields: Any
) -> dict[str, Any]:
    """Return one call of an episode of its own."""
    said = fields.pop("said", {})
    return transition(
        **{
            "episode_id": f"{task}-{number}",
            "span_id": f"{task}-{number}",
            "task_id": task,
            "observation": json.dumps([{"role": "user", "text": question or f"what is {task}?"}]),
            "action": json.dumps({"role": "assistant", "text": answer, "tool_calls": [], **said}),
            "evidence": "D",
            "behavior_model": "gpt-4o-mini",
            "prompt_token_ids": None,
            "response_token_ids": None,
            "behavior_logprobs": None,
            "start_ns": number,
        }
        | fields
    )


def calling(task: str, name: str, arguments: object, **fields: Any) -> dict[str, Any]:
    """Return one call that asks for a tool."""
    asked = {"tool_calls": [{"id": "c1", "name": name, "arguments": arguments}]}
    return call(task, None, said=asked, tools=TOOLS, **fields)
