"""Forms tool calls are written in by chat templates, and which of them a model's own template writes.

Hermes' form is read here, as strictly as a tool parser reads it. Any other is read by transformers' response parser
(`transformers.utils.chat_parsing`), from the description the tokenizer brings or from one of those below.
"""

import json
import re
from collections.abc import Callable
from typing import Any

TOOL_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
REASONING = re.compile(r"^\s*<think>(.*?)</think>", re.DOTALL)

Meaning = tuple[str, str, list[tuple[str, Any]]]
"""Reasoning, text, and the name and arguments of every tool call."""

Tools = list[dict[str, Any]] | None
Read = Callable[[str, Tools], Meaning | None]
"""An answer as it was sampled, and the tools it was offered, to what it says; null when it cannot be read."""

NEVER = "\x00"
"""A mark no answer holds: the answers given are whole, and begin where the turn does."""

_THINKING = {"open": "<think>", "close": "</think>", "content": "text"}
_CALL = {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}}

DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "functions and parameters in tags (Qwen3-Coder, Qwen3.5)": {
        "open_pattern": r"\s*<tool_call>\s*<function=(?P<name>[^>\n]+)>",
        "close_pattern": r"</function>\s*</tool_call>",
        "repeats": True,
        "content": "xml-inline",
        "content_args": {"tag_pattern": r"<parameter=(?P<key>[^>\n]+)>\n?(?P<value>.*?)\n?</parameter>"},
        "transform": _CALL,
    },
    "one JSON object (Llama 3)": {
        "open_pattern": r'(?:<\|python_tag\|>)?(?=\{\s*"(?:name|type)")',
        "close_pattern": r"(?:<\|eom_id\|>|\x00)",
        "content": "json",
        "transform": [
            {"type": "function", "function": {"name": "{content.name}", "arguments": "{content.parameters}"}}
        ],
    },
    "a JSON list behind [TOOL_CALLS] (Mistral)": {
        "open_pattern": r"\s*\[TOOL_CALLS\]\s*(?=\[)",
        "close": NEVER,
        "content": "json",
        "transform_each": True,
        "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{arguments}"}},
    },
    "a name and arguments behind [TOOL_CALLS] (Mistral from 2025 on)": {
        "open_pattern": r"\s*\[TOOL_CALLS\](?P<name>[\w.-]+)\s*(?:\[ARGS\])?(?=\s*\{)",
        "close_pattern": r"(?=\s*\[TOOL_CALLS\])|\x00",
        "repeats": True,
        "content": "json",
        "transform": _CALL,
    },
}
"""The field `tool_calls` of a response template, by what the form looks like and who writes it."""

PROBE = ("look_up", {"city": "Bern", "days": 3})
PROBE_TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": PROBE[0],
            "description": "Look something up.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city", "days"],
            },
        },
    }
]


def read_hermes(text: str, _tools: Tools = None) -> Meaning | None:
    """Read an answer in Hermes form, the way a tool parser would; null when a call in it cannot be read.

    >>> read_hermes('Wait. <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
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


def choose_reader(write: Callable[[dict[str, Any], list[dict[str, Any]]], str | None], described: object) -> Read:
    """Return what reads the form a template writes, found by having it `write` a message with a call.

    `described` is the response template the tokenizer brings, if any; it goes first. A template whose calls nobody
    reads is left to Hermes' form: its calls will not read back, and its text will.
    """
    given = [_reader(described, end="")] if isinstance(described, dict) else []
    known = [_reader(_template(description), end=NEVER) for description in DESCRIPTIONS.values()]
    for read in (*given, read_hermes, *known):
        if _reads_back(read, write, [PROBE]):
            return read
    return read_hermes


def _reads_back(
    read: Read, write: Callable[[dict[str, Any], list[dict[str, Any]]], str | None], calls: list[tuple[str, Any]]
) -> bool:
    functions = [{"type": "function", "function": {"name": name, "arguments": given}} for name, given in calls]
    text = write({"role": "assistant", "content": "", "tool_calls": functions}, PROBE_TOOLS)
    return text is not None and read(text, PROBE_TOOLS) == ("", "", calls)


def _template(tool_calls: dict[str, Any]) -> dict[str, Any]:
    return {
        "defaults": {"role": "assistant"},
        "start_anchor": NEVER,
        "fields": {
            "thinking": _THINKING,
            "tool_calls": tool_calls,
            "content": {"close": NEVER, "content": "text"},
        },
    }


def _reader(template: dict[str, Any], *, end: str) -> Read:
    """Return a reader by transformers' response parser; `end` is a mark behind the answer that closes what is open."""

    def read(text: str, tools: Tools) -> Meaning | None:
        from transformers.utils.chat_parsing import parse_response

        try:
            message = parse_response(text + end, template, prefix="", tools=tools)
            functions = [call["function"] for call in message.get("tool_calls") or []]
            calls = [(function["name"], function["arguments"]) for function in functions]
        except Exception as error:  # noqa: BLE001 - a description may be the tokenizer's, and ours meet any text
            del error
            return None
        return (message.get("thinking") or "").strip(), (message.get("content") or "").strip(), calls

    return read
