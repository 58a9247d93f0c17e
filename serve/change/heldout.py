"""Held-out prompts: conversations no training ever saw, in the shape an engine is asked in."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etl.schema import Split, table_files
from foundation.errors import SettingsError

Json = dict[str, Any]


@dataclass(frozen=True)
class Prompt:
    """One conversation that waits for an answer."""

    messages: list[Json]
    """In OpenAI's shape."""

    tools: list[Json]
    """In OpenAI's shape; empty where none were offered."""

    @property
    def schemas(self) -> dict[str, Any]:
        """JSON schema of the arguments of every tool offered, by name; null where none was recorded."""
        return {tool["function"]["name"]: tool["function"].get("parameters") for tool in self.tools}


def read_prompts(data: Path, limit: int) -> list[Prompt]:
    """Return some distinct prompts of the published held-out transitions: always the same ones of the same dataset.

    They are the first by the hash of their content, so that they are spread over tasks and agents, and an episode more
    changes few of them. Empty when nothing is published or held out, or `limit` is 0.
    """
    files = table_files(data, "transitions")
    if not files or not limit:
        return []
    try:
        import polars as pl
    except ImportError as error:
        raise SettingsError(
            "reading held-out prompts needs Polars", hint="pip install 'spanloop[serve]', or --gate-prompts 0"
        ) from error
    rows = (
        pl.scan_parquet(files, missing_columns="insert", extra_columns="ignore")
        .filter(pl.col("split") == Split.HELDOUT.value, pl.col("observation").is_not_null())
        .select("observation", "tools")
        .unique()
        .collect()
    )
    return [_read_prompt(*row) for row in sorted(rows.iter_rows(), key=_hash)[:limit]]


def prompts_digest(prompts: list[Prompt]) -> str:
    """Return the sha256 over prompts, in their order."""
    content = json.dumps([[prompt.messages, prompt.tools] for prompt in prompts], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _hash(row: tuple[str, str | None]) -> bytes:
    return hashlib.sha256("\0".join(part or "" for part in row).encode()).digest()


def _read_prompt(observation: str, tools: str | None) -> Prompt:
    return Prompt(
        [_message(message) for message in json.loads(observation)],
        [
            {"type": "function", "function": {name: value for name, value in tool.items() if value is not None}}
            for tool in json.loads(tools or "null") or ()
        ],
    )


def _message(message: Json) -> Json:
    """Return a canonical message of the dataset in OpenAI's shape.

    >>> _message({"role": "tool", "text": "84", "tool_call_id": "call_1"})
    {'role': 'tool', 'content': '84', 'tool_call_id': 'call_1'}
    """
    found: Json = {"role": message["role"], "content": message.get("text")}
    if calls := message.get("tool_calls"):
        found["tool_calls"] = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": _arguments(call)}}
            for call in calls
        ]
    if message.get("tool_call_id"):
        found["tool_call_id"] = message["tool_call_id"]
    return found


def _arguments(call: Json) -> str:
    arguments = call.get("arguments")
    return arguments if isinstance(arguments, str) else json.dumps({} if arguments is None else arguments)
