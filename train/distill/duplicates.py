"""Which calls ask and answer what an earlier one does, word for word or nearly so: one lesson is taught once."""

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from foundation.near_duplicates import common_runs, near_groups, signature

COLUMNS = ("left", "agent", "observation", "action")


def is_repeated(rows: pl.DataFrame) -> pl.Expr:
    """Tell which calls, of those still in, ask and answer what an earlier one does."""
    keys = [
        None if left is not None else "\0".join((agent or "", _normal(observation), _normal(action)))
        for left, agent, observation, action in rows.select(COLUMNS).iter_rows()
    ]
    return _is_later(keys)


def is_near(rows: pl.DataFrame) -> pl.Expr:
    """Tell which calls, of those still in, ask and answer nearly what an earlier one does.

    Near are the words of both, by MinHash; the same are the tools that are called, their arguments, all numbers,
    and what the agent was told since its last answer, if it answered before: the turns of one conversation are alike
    but for that. What many questions of an agent have in common is a template, and makes none of them near another.
    """
    keys: list[str | None] = [None] * rows.height
    by_agent: dict[str, list[int]] = {}
    asked, answered = [""] * rows.height, [""] * rows.height
    for number, (left, agent, observation, action) in enumerate(rows.select(COLUMNS).iter_rows()):
        if left is None:
            by_agent.setdefault(agent or "", []).append(number)
            messages, answer = json.loads(observation), json.loads(action)
            asked[number], answered[number] = _words(messages), answer.get("text") or ""
            keys[number] = "\0".join((agent or "", _normal(json.dumps(_latest(messages))), json.dumps(_called(answer))))
    for own in by_agent.values():
        for words in (asked, answered):
            for number, group in zip(own, _groups([words[number] for number in own]), strict=True):
                keys[number] = f"{keys[number]}\0{group}"
    return _is_later(keys)


def _is_later(keys: Sequence[str | None]) -> pl.Expr:
    """Tell which keys stood there before."""
    said = pl.Series(keys, dtype=pl.String)
    return pl.lit(~said.is_first_distinct() & said.is_not_null())


def _groups(texts: list[str]) -> list[str]:
    template = common_runs(texts)
    return near_groups(np.array([signature(text, without=template) for text in texts]))


def _said(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages without those of the system, which hold the date."""
    return [message for message in messages if message and message.get("role") not in ("system", "developer")]


def _latest(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what came after the agent's last answer; nothing where there is none."""
    places = [place for place, message in enumerate(messages) if message.get("role") == "assistant"]
    return messages[places[-1] + 1 :] if places else []


def _words(messages: list[dict[str, Any]]) -> str:
    return "\n".join(
        " ".join((message.get("text") or "", *(json.dumps(call) for call in _called(message))))
        for message in _said(messages)
    )


def _called(message: dict[str, Any]) -> list[list[Any]]:
    """Return the tools a message calls, without ids, which are drawn anew each time."""
    return [[call["name"], call.get("arguments")] for call in message.get("tool_calls") or ()]


def _normal(text: str | None) -> str:
    """Return what two ways of writing the same have in common.

    >>> _normal('[{"role": "user", "text": "Hello,  World!"}]') == _normal('[{"role": "user", "text": "hello world"}]')
    True
    """
    content = json.loads(text or "null")
    messages = content if isinstance(content, list) else [content]
    said = [
        [
            message.get("role"),
            re.sub(r"[\s.,;:!?]+", " ", message.get("text") or "").strip().casefold(),
            _called(message),
        ]
        for message in _said(messages)
    ]
    return json.dumps(said, sort_keys=True)
