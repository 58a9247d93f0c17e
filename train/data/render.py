"""Text to token ids: a call known as messages only, written as the model's own chat template writes it.

What was sampled as other tokens may read as the same text, so this is imitation of a text, never a claim about what was
sampled. Every call is checked: the prompt must be an exact beginning of prompt and answer together, in ids, and the
answer must read back to the same text and the same tool calls.
"""

import json
import re
from pathlib import Path
from typing import Any

from foundation.errors import SettingsError
from train.data.reading import Render

TOOL_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
REASONING = re.compile(r"^\s*<think>(.*?)</think>", re.DOTALL)


def make_renderer(model: Path) -> Render:
    """Return a renderer by the tokenizer and chat template of a model directory."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    except (OSError, ValueError) as error:
        raise SettingsError(f"transformers cannot open the tokenizer of {model}: {error}") from error
    if tokenizer.chat_template is None:
        return lambda _observation, _tools, _action: None

    def render(observation: str | None, tools: str | None, action: str) -> tuple[list[int], list[int]] | None:
        recorded = json.loads(observation or "[]")
        if not recorded or any(message.get("media") for message in recorded):
            return None  # what a picture is as tokens, a tokenizer alone does not know
        messages = [as_chat(message) for message in recorded]
        given = {"tools": json.loads(tools) if tools else None, "tokenize": False}
        answered = as_chat(json.loads(action) | {"role": "assistant"})
        try:
            prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, **given)
            whole = tokenizer.apply_chat_template([*messages, answered], **given)
        except Exception as error:  # noqa: BLE001 - a template is a program of the model's, and raises what it likes
            del error
            return None
        if not whole.startswith(prompt):
            return None
        prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
        response = _until_end(ids[len(prompt_ids) :], tokenizer.eos_token_id)
        if ids[: len(prompt_ids)] != prompt_ids or not response:
            return None
        said = parse(tokenizer.decode(_without_end(response, tokenizer.eos_token_id)))
        return (prompt_ids, response) if said == meaning(answered) else None

    return render


def as_chat(message: dict[str, Any]) -> dict[str, Any]:
    """Turn a message of the transitions table into one a chat template takes.

    >>> as_chat({"role": "user", "text": "7 - 2?"})
    {'role': 'user', 'content': '7 - 2?'}
    """
    chat: dict[str, Any] = {"role": message["role"], "content": message.get("text") or ""}
    if message.get("tool_calls"):
        chat["tool_calls"] = [
            {
                "id": call.get("id"),
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in message["tool_calls"]
        ]
    if message.get("tool_call_id"):
        chat["tool_call_id"] = message["tool_call_id"]
    if message.get("reasoning"):
        chat["reasoning_content"] = message["reasoning"]
    return chat


Meaning = tuple[str, str, list[tuple[str, Any]]]
"""Reasoning, text, and the name and arguments of every tool call."""


def meaning(chat: dict[str, Any]) -> Meaning:
    """Return what a message says, whatever its form."""
    functions = [call["function"] for call in chat.get("tool_calls", [])]
    calls = [(function["name"], function["arguments"]) for function in functions]
    return (chat.get("reasoning_content") or "").strip(), chat["content"].strip(), calls


def parse(text: str) -> Meaning | None:
    """Read a sampled answer in Hermes form, the way a tool parser would; null when a call in it cannot be read.

    >>> parse('Wait. <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
    ('', 'Wait.', [('add', {'a': 1})])
    """
    thought = REASONING.match(text)
    rest = text[thought.end() :] if thought else text
    try:
        calls = [json.loads(call) for call in TOOL_CALL.findall(rest)]
        functions = [(call["name"], call["arguments"]) for call in calls]
    except (ValueError, KeyError, TypeError):
        return None
    return thought.group(1).strip() if thought else "", TOOL_CALL.sub("", rest).strip(), functions


def _until_end(ids: list[int], end: int | None) -> list[int]:
    """Cut after the first end-of-turn: what a template writes behind it was not sampled."""
    return ids[: ids.index(end) + 1] if end in ids else ids


def _without_end(ids: list[int], end: int | None) -> list[int]:
    return ids[:-1] if ids and ids[-1] == end else ids
