"""Text to token ids: a call known as messages only, written as the model's own chat template writes it.

What was sampled as other tokens may read as the same text, so this is imitation of a text, never a claim about what was
sampled. Every call is checked: the prompt must be an exact beginning of prompt and answer together, in ids, and the
answer must read back to the same text and the same tool calls, in the form the template writes them (`forms.py`).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foundation.errors import SettingsError
from train.data.forms import Meaning, Tools, choose_reader
from train.data.logged import Render

Chat = dict[str, Any]

Prompt = Callable[[list[Chat], list[dict[str, Any]] | None, str], list[int] | None]
"""Messages and tools of a transition, and what is told beforehand, to the ids of a prompt; null where there is none."""


def make_renderer(model: Path) -> Render:
    """Return a renderer by the tokenizer and chat template of a model directory."""
    tokenizer = _open_tokenizer(model)
    if tokenizer.chat_template is None:
        return lambda _observation, _tools, _action: None

    def write(messages: list[Chat], answered: Chat, tools: Tools) -> tuple[list[int], list[int]] | None:
        """Return the ids of prompt and answer as the template writes them, null where they do not fit each other."""
        given = {"tools": tools, "tokenize": False}
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
        return (prompt_ids, response) if ids[: len(prompt_ids)] == prompt_ids and response else None

    def decode(response: list[int]) -> str:
        return str(tokenizer.decode(_without_end(response, tokenizer.eos_token_id)))

    def write_probe(answered: Chat, tools: list[dict[str, Any]]) -> str | None:
        written = write([{"role": "user", "content": "?"}], answered, tools)
        return None if written is None else decode(written[1])

    read = choose_reader(write_probe, getattr(tokenizer, "response_template", None))

    def render(observation: str | None, tools: str | None, action: str) -> tuple[list[int], list[int]] | None:
        said = [*json.loads(observation or "[]"), json.loads(action)]
        if len(said) < 2 or any(message.get("media") for message in said):
            return None  # what a picture is as tokens, a tokenizer alone does not know
        messages = [as_chat(message) for message in said[:-1]]
        offered = as_tools(json.loads(tools)) if tools else None
        answered = as_chat(said[-1] | {"role": "assistant"})
        written = write(messages, answered, offered)
        return written if written is not None and read(decode(written[1]), offered) == meaning(answered) else None

    return render


def make_prompt(model: Path) -> Prompt:
    """Return what writes prompts that tell something: at the end of what a user said last, or as a user's message."""
    tokenizer = _open_tokenizer(model)

    def write(messages: list[Chat], tools: list[dict[str, Any]] | None, told: str) -> list[int] | None:
        if tokenizer.chat_template is None or any(message.get("media") for message in messages):
            return None
        chat = [as_chat(message) for message in messages]
        if chat and chat[-1]["role"] == "user":
            chat[-1]["content"] += f"\n\n{told}"
        else:
            chat.append({"role": "user", "content": told})
        given = {"tools": as_tools(tools) if tools else None, "tokenize": False, "add_generation_prompt": True}
        try:
            prompt = tokenizer.apply_chat_template(chat, **given)
        except Exception as error:  # noqa: BLE001 - a template is a program of the model's, and raises what it likes
            del error
            return None
        ids: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return ids

    return write


def _open_tokenizer(model: Path) -> Any:  # noqa: ANN401 - whatever class the model's tokenizer is
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model, local_files_only=True)
    except (OSError, ValueError) as error:
        raise SettingsError(f"transformers cannot open the tokenizer of {model}: {error}") from error


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


def as_tools(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn the tools of the transitions table into what an agent's request offers, and a chat template takes.

    >>> as_tools([{"name": "add", "description": None, "parameters": {}}])
    [{'type': 'function', 'function': {'name': 'add', 'parameters': {}}}]
    """
    return [
        tool
        if "function" in tool
        else {"type": "function", "function": {key: value for key, value in tool.items() if value is not None}}
        for tool in tools
    ]


def meaning(chat: dict[str, Any]) -> Meaning:
    """Return what a message says, whatever its form."""
    functions = [call["function"] for call in chat.get("tool_calls", [])]
    calls = [(function["name"], function["arguments"]) for function in functions]
    return (chat.get("reasoning_content") or "").strip(), chat["content"].strip(), calls


def _until_end(ids: list[int], end: int | None) -> list[int]:
    """Cut after the first end-of-turn: what a template writes behind it was not sampled."""
    return ids[: ids.index(end) + 1] if end in ids else ids


def _without_end(ids: list[int], end: int | None) -> list[int]:
    return ids[:-1] if ids and ids[-1] == end else ids
