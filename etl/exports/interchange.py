"""Transitions as other trainers take them: TRL, verl, Hugging Face datasets, OpenAI's fine-tuning format.

Messages are in OpenAI's wire shape everywhere, arguments as JSON text, since that is what chat templates are given.
TRL, datasets and OpenAI take JSON lines, verl a Parquet file.
"""

from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pyarrow as pa

from etl.dialects.shapes.media import is_known

Row = dict[str, Any]


def openai_message(message: Row, parts: list[Row] | None = None) -> Row:
    """Return a canonical message in OpenAI's shape; `parts` are its content where it has media.

    >>> openai_message({"role": "tool", "text": "84", "tool_call_id": "call_1"})
    {'role': 'tool', 'content': '84', 'tool_call_id': 'call_1'}
    """
    wire: Row = {"role": message["role"], "content": _content(message, parts)}
    if message.get("reasoning"):
        wire["reasoning_content"] = message["reasoning"]
    if message.get("tool_calls"):
        wire["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": _arguments(call["arguments"])},
            }
            for call in message["tool_calls"]
        ]
    if message.get("tool_call_id"):
        wire["tool_call_id"] = message["tool_call_id"]
    if message.get("refusal"):
        wire["refusal"] = message["refusal"]
    return wire


def _content(message: Row, parts: list[Row] | None) -> Any:  # noqa: ANN401 - a text, or a list of parts
    if not parts:
        return message.get("text")
    return [{key: value for key, value in part.items() if key != "digest"} for part in parts]


def _media(row: Row) -> dict[int, list[Row]]:
    return {entry["message"]: entry["parts"] for entry in row.get("media") or ()}


def lacks_media(row: Row) -> bool:
    """Tell whether a transition was shown a medium that is not recorded, so that no line can hold what it was shown."""
    known = _media(row)
    shown = {position for position, message in enumerate(row["observation"] or ()) if message.get("media")}
    return not shown <= known.keys() or any(not is_known(part) for parts in known.values() for part in parts)


def _arguments(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, str) else orjson.dumps({} if value is None else value).decode()


def openai_tools(tools: list[Row] | None) -> list[Row]:
    """Return canonical tool definitions in OpenAI's shape."""
    return [
        {"type": "function", "function": {key: value for key, value in tool.items() if value is not None}}
        for tool in tools or ()
    ]


def _exchange(row: Row) -> tuple[list[Row], Row | None]:
    media = _media(row)
    prompt = [openai_message(message, media.get(n)) for n, message in enumerate(row["observation"] or ())]
    return prompt, openai_message(row["action"]) if row["action"] is not None else None


def to_trl(row: Row) -> Row:
    """Return TRL's conversational prompt and completion, with the return for reward-weighted trainers."""
    prompt, completion = _exchange(row)
    return {
        "prompt": prompt,
        "completion": [completion],
        "tools": openai_tools(row["tools"]),
        "reward": row["return_"],
        "label": None if row["outcome"] is None else row["outcome"] > 0,
    }


def to_verl(row: Row) -> Row:
    """Return a row of verl's RL dataset; the logged answer and its return are in `extra_info`."""
    prompt, completion = _exchange(row)
    return {
        "data_source": f"spanloop/{row['project']}",
        "prompt": prompt,
        "ability": row["agent"] or "agent",
        "reward_model": {"style": "rule", "ground_truth": row["outcome"]},
        "extra_info": {
            "split": row["split"],
            "index": f"{row['trace_id']}/{row['span_id']}",
            "task_id": row["task_id"],
            "step": row["step"],
            "answer": completion,
            "return": row["return_"],
            "tools": openai_tools(row["tools"]),
        },
    }


def verl_table(rows: Iterable[Row]) -> pa.Table:
    """Return rows of verl's dataset as a table, in the types of `VERL_SCHEMA`."""
    stored = [
        {
            **row,
            "prompt": _texts(row["prompt"]),
            "extra_info": {
                **row["extra_info"],
                "answer": orjson.dumps(row["extra_info"]["answer"]).decode(),
                "tools": _texts(row["extra_info"]["tools"]),
            },
        }
        for row in rows
    ]
    return pa.Table.from_pylist(stored, schema=_verl_schema(pa.string())).cast(VERL_SCHEMA)


def _texts(values: list[Row]) -> list[str]:
    return [orjson.dumps(value).decode() for value in values]


def to_datasets(row: Row) -> Row:
    """Return the whole transition with one type a column, so that `datasets.load_dataset("json", …)` infers it."""
    prompt, completion = _exchange(row)
    flat = {name: value for name, value in row.items() if name not in JSON_NAMES}
    return {
        **flat,
        "messages": [_uniform(message) for message in prompt],
        "completion": [_uniform(completion)] if completion is not None else [],
        "tools": orjson.dumps(openai_tools(row["tools"])).decode(),
    }


JSON_NAMES = {"observation", "media", "action", "next_observation", "tools", "params", "signals"}


def _uniform(message: Row) -> Row:
    content = message["content"]
    is_parts = isinstance(content, list)
    return {
        "role": message["role"],
        "content": _joined(content) if is_parts else content,
        "parts": orjson.dumps(content).decode() if is_parts else None,
        "reasoning_content": message.get("reasoning_content"),
        "tool_calls": message.get("tool_calls") or [],
        "tool_call_id": message.get("tool_call_id"),
    }


def _joined(parts: list[Row]) -> str | None:
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "\n".join(texts) if texts else None


def to_openai(row: Row) -> Row:
    """Return a line of OpenAI's chat fine-tuning format: the conversation with the answer as its last message."""
    prompt, completion = _exchange(row)
    line: Row = {"messages": [_without_reasoning(message) for message in [*prompt, completion] if message is not None]}
    tools = openai_tools(row["tools"])
    return {**line, "tools": tools} if tools else line


def _without_reasoning(message: Row) -> Row:
    """Return a message as OpenAI's fine-tuning takes it, which has no field for reasoning."""
    return {key: value for key, value in message.items() if key != "reasoning_content"}


def openai_refuses(line: Row) -> str | None:
    """Return why OpenAI's fine-tuning would refuse a line; None where it takes it.

    https://platform.openai.com/docs/guides/supervised-fine-tuning: every message has content or tool calls, a tool's
    result answers a call asked for before, every call asked for is answered, the last message is the assistant's.
    """
    open_calls: set[str] = set()
    for position, message in enumerate(line["messages"]):
        role, calls = message["role"], message.get("tool_calls") or ()
        if role not in {"system", "user", "assistant", "tool"}:
            return "unknown_role"
        if message["content"] is None and not calls and not message.get("refusal"):
            return "no_content"
        if role == "tool":
            if message.get("tool_call_id") not in open_calls:
                return "tool_result_without_call"
            open_calls.discard(message["tool_call_id"])
        elif open_calls:
            return "tool_call_without_result"
        if not all(call["id"] and call["function"]["name"] for call in calls):
            return "tool_call_without_id"
        if position < len(line["messages"]) - 1:
            open_calls |= {call["id"] for call in calls}
    return "tool_call_without_result" if open_calls else None


def _verl_schema(anything: pa.DataType) -> pa.Schema:
    """Return the columns of verl's RL dataset, https://verl.readthedocs.io/en/latest/preparation/prepare_data.html.

    What it does not name is in `extra_info`. `anything` is the type of messages and tools.
    """
    return pa.schema(
        {
            "data_source": pa.string(),
            "prompt": pa.list_(anything),
            "ability": pa.string(),
            "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.float64()}),
            "extra_info": pa.struct(
                {
                    "split": pa.string(),
                    "index": pa.string(),
                    "task_id": pa.string(),
                    "step": pa.int64(),
                    "answer": anything,
                    "return": pa.float64(),
                    "tools": pa.list_(anything),
                }
            ),
        }
    )


VERL_SCHEMA = _verl_schema(pa.json_(pa.string()))
"""Messages and tools are of Arrow's JSON type, which `datasets` hands out as the objects they are. As structs every
message would have every field, null where it has none, and templates that ask whether `tool_calls` is in a message
(Llama's) fail on those: verl leaves such prompts out."""


FORMATS: dict[str, Callable[[Row], Row]] = {
    "trl": to_trl,
    "verl": to_verl,
    "datasets": to_datasets,
    "openai": to_openai,
}
"""A transition with an action, its JSON columns decoded, to one line of the format."""
