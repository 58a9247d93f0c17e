"""A call as people read it: messages in order, tool calls with their results beside them, images by number.

Takes the canonical messages of the ETL, and whatever else stands there: what is no message is shown as the text it is.
"""

import base64
import binascii
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

FIRST, LAST = 2, 24
"""Messages of a long conversation that are shown, from its begin and its end; the page says how many are between."""

LONGEST = 12_000
"""Characters of one text that are shown before it is said to go on."""

IMAGES = {"image/png", "image/jpeg", "image/gif", "image/webp"}
"""Kinds of pictures that are shown; none of them can hold a script."""

ROLES = frozenset({"system", "user", "assistant", "tool", "developer"})


Results = dict[str, tuple[str, bool]]
"""What came of tool calls, by their ids, and whether that is an error."""


@dataclass(frozen=True)
class Said:
    """One message."""

    role: str
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple["Called", ...] = ()
    pictures: tuple[int, ...] = ()
    """Numbers of its pictures among those of the call."""

    other_media: tuple[str, ...] = ()
    is_chosen: bool = True
    """It is the answer that was gone on from."""

    finish_reason: str = ""

    @property
    def kind(self) -> str:
        """Its role, where the stylesheet knows it."""
        return self.role if self.role in ROLES else "other"


@dataclass(frozen=True)
class Called:
    """One tool call, and the result the conversation holds of it."""

    id: str
    name: str
    arguments: str
    result: str | None = None
    is_failed: bool = False
    """Its result is the error it ended in."""


@dataclass(frozen=True)
class Talk:
    """What a call was shown and what it said."""

    shown: tuple[Said, ...]
    said: tuple[Said, ...]
    num_hidden: int = 0
    """Messages between the first and the last that are not shown."""

    tools: tuple[dict[str, Any], ...] = ()
    pictures: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Of each picture its kind and its data in base64."""


def of_call(call: dict[str, Any], came: Results | None = None, *, everything: bool = False) -> Talk:
    """Return a row of `llm_calls` as a conversation; `came` is what came of its answer's tool calls."""
    shown, said = _messages(call.get("input")), _messages(call.get("output"))
    media, pictures, others = _media(call.get("media"))
    results, beside = _results(shown)
    made = [
        _said(
            message,
            {id_: (text, False) for id_, text in results.get(index, {}).items()},
            media.get(index, ()),
            others.get(index, ()),
        )
        for index, message in enumerate(shown)
    ]
    kept = [one for index, one in enumerate(made) if index not in beside]
    hidden = 0
    if not everything and len(kept) > FIRST + LAST + 1:
        hidden = len(kept) - FIRST - LAST
        kept = [*kept[:FIRST], *kept[-LAST:]]
    choice = call.get("choice")
    answers = tuple(
        _said(message, came or {}, (), (), is_chosen=choice is None or index == choice)
        for index, message in enumerate(said)
    )
    tools = tuple(tool for tool in _messages(call.get("tools")) if isinstance(tool, dict))
    return Talk(tuple(kept), answers, hidden, tools, tuple(pictures))


def _results(messages: list[dict[str, Any]]) -> tuple[dict[int, dict[str, str]], set[int]]:
    """Return by message what came of its calls, by their ids, and the messages that say so.

    A result is of the latest call before it with its id that has none: servers number the calls of every answer anew.
    """
    found: dict[int, dict[str, str]] = defaultdict(dict)
    waiting: dict[str, int] = {}
    beside: set[int] = set()
    for index, message in enumerate(messages):
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict) and call.get("id"):
                waiting[str(call["id"])] = index
        call_id = str(message.get("tool_call_id") or "")
        if message.get("role") == "tool" and call_id in waiting:
            found[waiting.pop(call_id)][call_id] = _text(message.get("text"))
            beside.add(index)
    return found, beside


def came_of(observation: Any, tools: Iterable[dict[str, Any]]) -> Results:  # noqa: ANN401 - JSON text or nothing
    """Return what came of the tool calls of an answer: as the next request says, else as the tools' own spans do."""
    found: Results = {}
    for row in tools:
        if row.get("tool_call_id") and (row.get("error") or row.get("result")) is not None:
            error = row.get("error")
            found[str(row["tool_call_id"])] = (_text(error or row.get("result")), bool(error))
    by_call, _ = _results(_messages(observation))
    for results in by_call.values():  # of an id that was used again the latest stays
        found |= {id_: (text, found.get(id_, ("", False))[1]) for id_, text in results.items()}
    return found


def _messages(text: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON text or nothing
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return [{"role": "other", "text": text}]
    found = found if isinstance(found, list) else [found] if found is not None else []
    return [item if isinstance(item, dict) else {"role": "other", "text": item} for item in found]


def _said(
    message: dict[str, Any],
    results: Results,
    pictures: tuple[int, ...],
    others: tuple[str, ...],
    *,
    is_chosen: bool = True,
) -> Said:
    calls = message.get("tool_calls")
    return Said(
        role=str(message.get("role") or "assistant"),
        text=_text(message.get("text")),
        reasoning=_text(message.get("reasoning")),
        refusal=_text(message.get("refusal")),
        tool_calls=tuple(
            Called(
                str(call.get("id") or ""),
                str(call.get("name") or "(no name)"),
                _text(call.get("arguments")),
                *results.get(str(call.get("id")), ()),
            )
            for call in (calls if isinstance(calls, list) else [])
            if isinstance(call, dict)
        ),
        pictures=pictures,
        other_media=others,
        is_chosen=is_chosen,
        finish_reason=str(message.get("finish_reason") or ""),
    )


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON
    """Return a value as text, whole or said to go on."""
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = str(value)
    return (
        text
        if len(text) <= LONGEST
        else f"{text[:LONGEST]}\n… {len(text) - LONGEST:,} more characters: the OTLP file holds all"
    )


def _media(text: Any) -> tuple[dict[int, tuple[int, ...]], list[tuple[str, str]], dict[int, tuple[str, ...]]]:  # noqa: ANN401
    """Return the pictures of each message by number, the pictures, and what other media a message has, in words."""
    by_message: dict[int, tuple[int, ...]] = {}
    pictures: list[tuple[str, str]] = []
    others: dict[int, tuple[str, ...]] = {}
    for position, entry in enumerate(_messages(text)):
        index = next(
            (entry[name] for name in ("message", "position", "index") if isinstance(entry.get(name), int)), position
        )
        for address in _addresses(entry):
            kind, _, data = address.partition(";base64,")
            if address.startswith("data:") and kind.removeprefix("data:") in IMAGES:
                by_message[index] = (*by_message.get(index, ()), len(pictures))
                pictures.append((kind.removeprefix("data:"), data))
            else:
                shown = address if len(address) < 200 else f"{address[:80]}… ({len(address):,} characters)"
                others[index] = (*others.get(index, ()), shown)
    return by_message, pictures, others


def _addresses(value: Any, depth: int = 0) -> list[str]:  # noqa: ANN401 - any JSON
    """Return every text in a value that is a data: or http address, in order."""
    if depth > 8:
        return []
    if isinstance(value, str):
        return [value] if value.startswith(("data:", "http://", "https://")) else []
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [address for item in items for address in _addresses(item, depth + 1)]


def picture(talk: Talk, number: int) -> tuple[str, bytes] | None:
    """Return the kind and bytes of a picture; None where there is none, or what stands there is none."""
    if not 0 <= number < len(talk.pictures):
        return None
    kind, data = talk.pictures[number]
    try:
        return kind, base64.b64decode(data, validate=False)
    except (binascii.Error, ValueError):
        return None
