"""One conversation, in the shapes that hand-made spans of every dialect hold it in: a question, a tool, an answer."""

import json
from typing import Any

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import START_NS, Span, logs_frame, spans_frame

SYSTEM = "Use the calculator."
QUESTION = "What is 12*7?"
ANSWER = "12*7 is 84."
ARGUMENTS = {"expression": "12*7"}
SCHEMA = {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}
TOOL = {"name": "calculator", "description": "Evaluate.", "parameters": SCHEMA}
REQUEST = {"id": "call_1", "name": "calculator", "arguments": ARGUMENTS}
ASKED = [{"role": "system", "text": SYSTEM}, {"role": "user", "text": QUESTION}]
TURNS = [
    *ASKED,
    {"role": "assistant", "text": None, "tool_calls": [REQUEST]},
    {"role": "tool", "text": "84", "tool_call_id": "call_1"},
]

Conversation = tuple[list[Span], list[dict[str, Any]]]


def dump(value: Any) -> str:
    """Return JSON text."""
    return json.dumps(value)


def event(name: str, **fields: Any) -> dict[str, Any]:
    """Return a span event."""
    return {"name": name, "time_ns": START_NS, "attributes": fields}


def openai_messages(*, answered: bool) -> list[dict[str, Any]]:
    """Return the conversation in OpenAI's shape."""
    head: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    call = {"id": "call_1", "type": "function", "function": {"name": "calculator", "arguments": dump(ARGUMENTS)}}
    tail: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "84"},
    ]
    return head + tail if answered else head


def openai_tool() -> dict[str, Any]:
    """Return the tool in OpenAI's shape."""
    return {"type": "function", "function": TOOL}


def run(conversation: Conversation) -> Dataset:
    """Run the ETL over a conversation."""
    spans, logs = conversation
    return transform(spans_frame(spans), logs_frame(logs), EtlConfig(complete_after=0))
