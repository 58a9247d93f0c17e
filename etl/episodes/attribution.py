"""Finds the model call that caused a tool call, and says by which rule."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable
from enum import StrEnum
from typing import Any

import orjson

from etl.calls.tree import NO_PARENT, Forest
from etl.dialects.spans import LlmCall, ToolCall


class Rule(StrEnum):
    """How a tool call was attributed; the first that finds a call wins."""

    ID = "tool_call_id"
    """The call asked for this very id."""

    REQUEST = "name_and_arguments"
    """The latest call that had ended and asked for this tool with these arguments."""

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


class Causes:
    """The calls of a run, indexed for the question which of them caused a tool call."""

    def __init__(self, calls: list[LlmCall], episode_of: list[int], agent_rows: dict[int, int], forest: Forest) -> None:
        self._episode_of = episode_of
        self._forest = forest
        self._agent_rows = agent_rows
        self._by_row = {call.span.index: call for call in calls}
        self._ended: dict[Hashable, list[tuple[int, int]]] = defaultdict(list)
        for call in calls:
            row, end = call.span.index, call.span.end_ns
            episode = episode_of[row]
            for key in self._keys(call, episode):
                self._ended[key].append((end, row))
            self._ended["parent", forest.parent[row], episode].append((end, row))
            self._ended["agent", agent_rows[row], episode].append((end, row))
            self._ended["episode", episode].append((end, row))
        for entries in self._ended.values():
            entries.sort()

    def _keys(self, call: LlmCall, episode: int) -> list[Hashable]:
        keys: list[Hashable] = []
        for message in call.output or ():
            for request in message["tool_calls"]:
                if request["id"]:
                    keys.append(("id", request["id"], episode))
                if request["name"]:
                    keys.append(("request", request["name"], _canonical(request["arguments"]), episode))
        return keys

    def find(self, tool: ToolCall, agent_row: int) -> tuple[LlmCall | None, Rule | None]:
        """Return the call that caused a tool call, and the rule that said so."""
        row, start = tool.span.index, tool.span.start_ns
        episode = self._episode_of[row]
        if tool.tool_call_id:
            entries = self._ended.get(("id", tool.tool_call_id, episode))
            if entries:
                return self._by_row[entries[0][1]], Rule.ID
        for key, rule in (
            (("request", tool.asked_as or tool.name, _canonical(tool.arguments), episode), Rule.REQUEST),
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
