"""Finds the model call that caused a tool call, and says by which rule."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from etl.calls.tool_layers import is_same_name
from etl.calls.tree import NO_PARENT, Forest
from etl.dialects.spans import LlmCall, ToolCall


class Rule(StrEnum):
    """How a tool call was attributed; the first that finds a call wins."""

    ID = "tool_call_id"
    """The call asked for this very id; of several, as servers number the calls of every answer anew, the latest before
    the tool ran that asked for this tool with these arguments under it, for the same agent."""

    REQUEST = "name_and_arguments"
    """The latest call before the tool ran that asked for this tool with these arguments."""

    PARENT = "parent_call"
    """The tool ran inside the call's own span."""

    SIBLING = "same_parent"
    """The latest call that had ended, under the same parent."""

    AGENT = "same_agent"
    """The latest call that had ended, of the same agent span."""

    EPISODE = "same_episode"
    """The latest call that had ended, in the same episode."""

    MESSAGE = "tool_message"
    """There is no span: a later request holds the result under the id this call asked with."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request for a tool, in an answer."""

    call: LlmCall
    agent_row: int
    name: str | None
    arguments: bytes


class Causes:
    """The calls of a run, indexed for the question which of them caused a tool call."""

    def __init__(self, calls: list[LlmCall], episode_of: list[int], agent_rows: dict[int, int], forest: Forest) -> None:
        self._episode_of = episode_of
        self._forest = forest
        self._by_row = {call.span.index: call for call in calls}
        self._ended: dict[Hashable, list[tuple[int, int]]] = defaultdict(list)
        self._asked: dict[Hashable, list[_Asked]] = defaultdict(list)
        for call in calls:
            row, end = call.span.index, call.span.end_ns
            episode = episode_of[row]
            for key, asked in self._requests(call, episode, agent_rows[row]):
                self._asked[key].append(asked)
            self._ended["parent", forest.parent[row], episode].append((end, row))
            self._ended["agent", agent_rows[row], episode].append((end, row))
            self._ended["episode", episode].append((end, row))
        for entries in self._ended.values():
            entries.sort()

    def _requests(self, call: LlmCall, episode: int, agent_row: int) -> Iterator[tuple[Hashable, _Asked]]:
        for message in call.output or ():
            for request in message["tool_calls"]:
                asked = _Asked(call, agent_row, request["name"], _canonical(request["arguments"]))
                if request["id"]:
                    yield ("id", request["id"], episode), asked
                if request["name"]:
                    yield ("request", request["name"], asked.arguments, episode), asked

    def find(self, tool: ToolCall, agent_row: int) -> tuple[LlmCall | None, Rule | None]:
        """Return the call that caused a tool call, and the rule that said so."""
        row, start = tool.span.index, tool.span.start_ns
        episode = self._episode_of[row]
        request = ("request", tool.asked_as or tool.name, _canonical(tool.arguments), episode)
        for rule, known in (
            (Rule.ID, self._asked.get(("id", tool.tool_call_id, episode)) if tool.tool_call_id else None),
            (Rule.REQUEST, self._asked.get(request)),
        ):
            if known:
                return self._likeliest(known, tool, agent_row).call, rule
        for key, rule in (
            (None, Rule.PARENT),
            (("parent", self._forest.parent[row], episode), Rule.SIBLING),
            (("agent", agent_row, episode), Rule.AGENT),
            (("episode", episode), Rule.EPISODE),
        ):
            if key is not None and NO_PARENT in key[1:2]:
                continue  # spans without a parent, or without an agent, have none in common
            cause = self._parent_call(row) if key is None else self._latest(key, start)
            if cause is not None:
                return cause, rule
        return None, None

    def _likeliest(self, known: list[_Asked], tool: ToolCall, agent_row: int) -> _Asked:
        """Return which of several requests it was that a tool answers, each fact counting where any request has it.

        What was asked comes before clocks. A stream asks before its span ends, so that it had begun is enough; where
        none had, clocks differ, and it is the first.
        """
        arguments = _canonical(tool.arguments)
        named = {tool.name, tool.asked_as} - {None}
        facts: tuple[Callable[[_Asked], bool], ...] = (
            lambda asked: any(is_same_name(asked.name, name) for name in named),
            lambda asked: asked.arguments == arguments,
            lambda asked: asked.agent_row == agent_row,
            lambda asked: self._forest.parent[asked.call.span.index] == self._forest.parent[tool.span.index],
        )
        for holds in facts if len(known) > 1 else ():
            known = [asked for asked in known if holds(asked)] or known
        begun = [asked for asked in known if asked.call.span.start_ns <= tool.span.start_ns]
        if begun:
            return max(begun, key=lambda asked: (asked.call.span.start_ns, asked.call.span.span_id))
        return min(known, key=lambda asked: (asked.call.span.start_ns, asked.call.span.span_id))

    def _parent_call(self, row: int) -> LlmCall | None:
        return self._by_row.get(self._forest.parent[row])

    def _latest(self, key: Hashable, start: int) -> LlmCall | None:
        entries = self._ended.get(key)
        if not entries:
            return None
        position = bisect_right(entries, (start, len(self._episode_of)))
        return self._by_row[entries[position - 1][1]] if position else None


def _canonical(arguments: Any) -> bytes:  # noqa: ANN401 - any JSON value
    return orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS, default=str)
