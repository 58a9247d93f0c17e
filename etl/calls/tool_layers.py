"""One tool execution, once: a framework's span and that of the client below or beside it become one.

A framework may put the server's name before the tool's (`mcp__weather__get_weather`), and a protocol's client writes
its method before it (`tools/call get_weather`). Parallel executions that are alike are real: of spans that are not
nested, only those with different names or scopes are compared, or one of which alone is a protocol's; or those that
are one span to the nanosecond, exported twice under different ids.
"""

import re
from collections import defaultdict
from collections.abc import Hashable

import orjson

from etl.calls.agents import Surroundings
from etl.calls.tree import Forest
from etl.dialects.spans import ToolCall

SEPARATORS = re.compile(r"__|[.:/\s]+")
"""What stands between a server's or a method's name and the tool's."""

METHODS = {"tools", "call", "execute_tool", "call_tool", "mcp"}
"""Words before a tool's name that are a protocol's or a convention's."""

PARTS = re.compile(r"[-_]+")
"""What stands there too, where a span is a protocol's; in other names it stands between words."""

MOST_AT_ONCE = 32
"""How many executions are looked at that began before another one and may be the same."""


def unique_tools(tools: list[ToolCall], forest: Forest, apart: set[int]) -> list[ToolCall]:
    """Return executions, each once: of several spans of one, that which tells the most, completed by the others.

    `apart` are the rows of model calls and agents: an execution below one that is itself below another is its own.
    """
    by_row = {tool.span.index: tool for tool in tools}
    around = Surroundings(forest, set(by_row) | apart)
    dropped: set[int] = set()
    for tool in sorted(tools, key=lambda tool: -forest.enter[tool.span.index]):
        outer = by_row.get(around.nearest(tool.span.index))
        if outer is not None and _is_same_tool(tool, outer, is_inside=True) and _fit(tool, outer):
            dropped.add(_fold(tool, outer))
    beside: dict[Hashable, list[ToolCall]] = defaultdict(list)
    copies: dict[Hashable, ToolCall] = {}
    for tool in sorted(tools, key=lambda tool: (tool.span.start_ns, -tool.span.end_ns, tool.span.span_id)):
        row = tool.span.index
        if row in dropped:
            continue
        first = copies.setdefault(_place(tool), tool)
        if first is not tool and _is_copy(tool, first, forest):
            dropped.add(row)
            continue
        same = beside[forest.parent[row], tool.span.project, tool.span.trace_id]
        for other in reversed(same[-MOST_AT_ONCE:]):
            if other.span.index not in dropped and _is_beside(tool, other):
                dropped.add(_fold(tool, other))
                break
        same.append(tool)
    return [tool for tool in tools if tool.span.index not in dropped]


def _place(tool: ToolCall) -> Hashable:
    """Return what two exports of one span have in common, where somebody on the way gave one of them other ids."""
    span = tool.span
    return span.project, span.trace_id, span.scope, span.name, span.start_ns, span.end_ns, tool.tool_call_id


def _is_copy(tool: ToolCall, first: ToolCall, forest: Forest) -> bool:
    """Tell whether it is another's span once more; asked for alike, at once, under one parent, two may be real."""
    is_elsewhere = forest.parent[tool.span.index] != forest.parent[first.span.index]
    return (bool(tool.tool_call_id) or is_elsewhere) and all(
        getattr(tool, field) == getattr(first, field) for field in ("arguments", "result", "error")
    )


def is_same_name(one: str | None, other: str | None) -> bool:
    """Tell whether two names are of one tool: equal, or one with something before it.

    >>> is_same_name("mcp__weather__get_weather", "get_weather"), is_same_name("tools/call get_weather", "get_weather")
    (True, True)
    >>> is_same_name("get_weather", "weather")
    False
    """
    if one is None or other is None or one == other:
        return one == other
    short, long = sorted((_words(one), _words(other)), key=len)
    return bool(short) and long[-len(short) :] == short


def _words(name: str) -> list[str]:
    words = [word for word in SEPARATORS.split(name) if word]
    return [word for word in words[:-1] if word not in METHODS] + words[-1:]


def _is_same_tool(one: ToolCall, other: ToolCall, *, is_inside: bool = False) -> bool:
    pairs = [(left, right) for left in (one.name, one.asked_as) for right in (other.name, other.asked_as)]
    if any(left is not None and is_same_name(left, right) for left, right in pairs):
        return True
    if _is_protocols(one) == _is_protocols(other):
        return False
    has_proof = one.arguments is not None and other.arguments is not None
    if not has_proof and not (is_inside and _is_protocols(one)):
        return False
    return any(left and right and _is_part(left, right, is_last=not has_proof) for left, right in pairs)


def _is_part(one: str, other: str, *, is_last: bool) -> bool:
    """Tell whether one of two names is the other with a server's name before or after it, joined in any way.

    `is_last`: before it alone.
    """
    short, long = sorted(
        ([part for word in _words(name) for part in PARTS.split(word)] for name in (one, other)), key=len
    )
    return short == long[-len(short) :] or (not is_last and short == long[: len(short)])


def _is_protocols(tool: ToolCall) -> bool:
    """Tell whether a span is that of the Model Context Protocol's client or server."""
    return any(name.startswith("mcp.") for name in tool.span.attributes) or tool.span.name.startswith("tools/call")


def _fit(one: ToolCall, other: ToolCall) -> bool:
    """Tell whether nothing that both tell is different."""
    if one.tool_call_id and other.tool_call_id and one.tool_call_id != other.tool_call_id:
        return False
    return one.arguments is None or other.arguments is None or _key(one.arguments) == _key(other.arguments)


def _is_beside(inner: ToolCall, outer: ToolCall) -> bool:
    is_within = outer.span.start_ns <= inner.span.start_ns and inner.span.end_ns <= outer.span.end_ns
    is_layer = inner.name != outer.name or inner.span.scope != outer.span.scope or _is_protocols(inner)
    has_proof = inner.arguments is not None and outer.arguments is not None
    is_same_id = bool(inner.tool_call_id) and inner.tool_call_id == outer.tool_call_id
    return is_within and is_layer and (has_proof or is_same_id) and _is_same_tool(inner, outer) and _fit(inner, outer)


def _fold(inner: ToolCall, outer: ToolCall) -> int:
    """Complete the span that tells more by the other, whose row is returned."""
    loser, winner = (outer, inner) if _told(inner) > _told(outer) else (inner, outer)
    winner.tool_call_id = winner.tool_call_id or loser.tool_call_id
    winner.error = winner.error or loser.error
    winner.result = None if winner.error is not None else winner.result or loser.result
    winner.arguments = loser.arguments if winner.arguments is None else winner.arguments
    winner.asked_as = winner.asked_as or (outer.name if outer.name != winner.name else None)
    return loser.span.index


def _told(tool: ToolCall) -> int:
    return sum(value is not None for value in (tool.arguments, tool.result, tool.error, tool.tool_call_id))


def _key(arguments: object) -> bytes:
    return orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS, default=str)
