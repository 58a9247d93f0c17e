"""Says whether a recording holds a fact at all, from its bytes alone: nobody can recover what is not there.

The recordings' own lists of what is unrecorded were made by looking for a value anywhere, so that `84` was found inside
an id, and `auto` inside `autogen`. Here a value counts where it stands by itself:

* a number, or a text of fewer than `SHORT` characters, is a whole value; a longer text stands somewhere between
  characters that are no part of a word;
* an object is a whole object; arguments also count where one stands beside its value in a text that is no JSON;
* a count of tokens, a tool choice and whether an answer was streamed have names, and the empty text has one too;
* a message is held if something it says is: its role and its ids alone say nothing;
* a request is held if a text in it is: its tool calls and results repeat what answers and tools are asked for.
"""

import json
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import polars as pl

from etl.dialects.shapes.json_values import decode

SHORT = 6
NAMES = {
    "cached_input_tokens": re.compile("cache"),
    "reasoning_tokens": re.compile("reason"),
    "input_tokens": re.compile("input|prompt"),
    "output_tokens": re.compile("output|completion"),
    "tool_choice": re.compile("tool_?choice", re.IGNORECASE),
}
"""Words of which one is in the name under which a fact of this name would stand."""

STREAM = re.compile(r"stream(?!ing_tool)|chunk|first_token", re.IGNORECASE)
"""What names a stream; `streaming_tool` is what the recorded program calls itself."""

EMPTY = re.compile(r"content|text|output", re.IGNORECASE)
SAID = ("text", "tool_calls", "refusal", "reasoning", "media")
MADE_UP = {"error", "usage"}
"""Objects that only the expected content has, put together from values that stand apart."""


class Held:
    """The values of one recording, each with the name it stands under."""

    def __init__(self, spans: pl.DataFrame, logs: pl.DataFrame) -> None:
        self._values: list[tuple[str, Any]] = []
        self._objects: set[str] = set()
        for frame in (spans, logs):
            for row in frame.iter_rows(named=True):
                for name, value in _walk(row):
                    if isinstance(value, dict):
                        self._objects.add(_canonical(value))
                    else:
                        self._values.append((name, value))

    @cached_property
    def _whole(self) -> set[str]:
        return {str(value) for _, value in self._values}

    @cached_property
    def _text(self) -> str:
        return "\n".join(str(value) for _, value in self._values)

    @cached_property
    def _names(self) -> str:
        return "\n".join({name for name, _ in self._values})

    def names(self, word: str) -> bool:
        """Tell whether any value stands under a name with this word."""
        return word in self._names

    def __call__(self, fact: Any, name: str) -> bool:
        """Tell whether a fact, which the expected content has under a name, is anywhere in the recording."""
        if name == "streamed":
            return STREAM.search(self._names) is not None or STREAM.search(self._text) is not None
        if isinstance(fact, list):
            return any(self(item, name) for item in fact)
        if isinstance(fact, dict):
            return self._object(fact, name)
        if fact is None:
            return False
        if name in NAMES:
            return any(NAMES[name].search(key) and str(value) == str(fact) for key, value in self._values)
        if fact == "":
            return any(value == "" and EMPTY.search(key) for key, value in self._values)
        if str(fact) in self._whole:
            return True
        is_word = name == "http_status" or (isinstance(fact, str) and len(fact) >= SHORT)
        return is_word and re.search(rf"(?<![\w-]){re.escape(str(fact))}(?![\w-])", self._text) is not None

    def _object(self, fact: dict[str, Any], name: str) -> bool:
        if name in MADE_UP:
            return any(self(value, key) for key, value in fact.items())
        if "role" in fact:
            said = ("text",) if name == "input" else SAID
            return not (name == "input" and fact["role"] == "tool") and any(
                self(fact[k], k) for k in said if fact.get(k)
            )
        if {"id", "name", "arguments"} <= set(fact):
            return self(fact["arguments"], "arguments")
        if _canonical(fact) in self._objects:
            return True
        return name == "arguments" and any(self._beside(key, value) for key, value in fact.items())

    def _beside(self, name: str, value: Any) -> bool:
        if not isinstance(value, str):
            return False
        quoted = rf"""['"]{re.escape(name)}\\*['"]\s*:\s*\\*['"]{re.escape(value)}\\*['"]"""
        return re.search(quoted, self._text) is not None


def reason(fact: Any, name: str) -> str:
    """Say in a few words what was looked for and not found."""
    if name == "streamed":
        return "no word of a stream"
    if fact == "":
        return "no empty text"
    if name in NAMES:
        return "nothing of that name has the value"
    return "nothing it says stands anywhere" if isinstance(fact, dict | list) else "the value stands nowhere"


def _walk(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Walk a row, JSON and Python literals inside texts too: every object, and every value that is none; iterative."""
    stack: list[tuple[str, Any]] = list(row.items())
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict):
            yield name, value
            stack += [(str(key), item) for key, item in value.items()]
        elif isinstance(value, list):
            stack += [(name, item) for item in value]
        elif value is not None:
            yield name, value
            inner = _decoded(value)
            if inner is not value:
                stack.append((name, inner))


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    inner = decode(value)
    if not isinstance(inner, str):
        return inner
    if value[:1] == '"':  # a text, encoded once more
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _canonical(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, default=str)
