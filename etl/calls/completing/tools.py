"""Gives tool executions the arguments, results and errors that messages and other spans tell under their id."""

from collections.abc import Hashable, Iterable, Sequence
from itertools import chain
from typing import Any

from etl.calls.completing.errors import error_text
from etl.calls.completing.in_band_errors import move_errors
from etl.dialects.spans import LlmCall, Span, ToolCall, ToolFact


def complete_tools(tools: Sequence[ToolCall], calls: Iterable[LlmCall], facts: Iterable[tuple[Span, ToolFact]]) -> None:
    """Give tool executions what messages tell under their id, in place, and their errors in their own words.

    Under an id that was used again nothing is told of either execution.
    """
    calls = list(calls)
    known: dict[Hashable, ToolFact] = {}

    def told_of(span: Span, identifier: str) -> ToolFact:
        key = (span.project, span.trace_id, identifier)
        if key not in known:
            known[key] = ToolFact(identifier)
        return known[key]

    for span, fact in facts:
        own = told_of(span, fact.tool_call_id)
        own.name = own.name or fact.name
        own.arguments = fact.arguments if own.arguments is None else own.arguments
        own.result = fact.result if own.result is None else own.result
        own.error = fact.error if own.error is None else own.error
    wanted = {tool.tool_call_id for tool in tools if tool.tool_call_id and _is_bare(tool)}
    for call in calls if wanted else ():
        for message in chain(call.input or (), call.output or ()):
            for request in message.get("tool_calls") or ():
                if request["id"] in wanted:
                    own = told_of(call.span, request["id"])
                    own.name = own.name or request["name"]
                    own.arguments = request["arguments"] if own.arguments is None else own.arguments
            if message.get("tool_call_id") in wanted and message["role"] == "tool":
                own = told_of(call.span, message["tool_call_id"])
                own.result = message["text"] if own.result is None else own.result
    again = _used_again(calls) if known else set()
    for tool in tools:
        key = (tool.span.project, tool.span.trace_id, tool.tool_call_id)
        told = known.get(key) if key not in again else None
        if told is not None:
            tool.arguments = told.arguments if tool.arguments is None else tool.arguments
            tool.error = told.error if tool.error is None and tool.result is None else tool.error
            tool.result = told.result if tool.result is None and tool.error is None else tool.result
        move_errors(tool)
        if tool.error is not None:
            tool.error = error_text(tool.error)


def _used_again(calls: Iterable[LlmCall]) -> set[Hashable]:
    """Return (project, trace, id) of ids under which one conversation, or two answers, asked for different things."""
    again: set[Hashable] = set()
    asked: dict[Hashable, Any] = {}
    for call in calls:
        own: dict[Hashable, Any] = {}
        for message in chain(call.input or (), (call.output or ())[call.choice :][:1]):
            for request in message.get("tool_calls") or ():
                key = (call.span.project, call.span.trace_id, request["id"])
                if own.setdefault(key, request) is not request:
                    again.add(key)
        for message in call.output or ():
            for request in message.get("tool_calls") or ():
                key, what = (
                    (call.span.project, call.span.trace_id, request["id"]),
                    (request["name"], request["arguments"]),
                )
                if asked.setdefault(key, what) != what:
                    again.add(key)
    return again


def _is_bare(tool: ToolCall) -> bool:
    return tool.arguments is None or (tool.result is None and tool.error is None)


def complete_arguments(causes: Iterable[tuple[ToolCall, LlmCall | None]]) -> None:
    """Give a tool that lacks its arguments, or has its only one bare, as by LangChain, what it was asked with."""
    for tool, call in causes:
        if call is not None and tool.arguments is None and tool.tool_call_id:
            answers = call.output or ()
            own = [r for message in answers for r in message["tool_calls"] if r["id"] == tool.tool_call_id]
            tool.arguments = own[0]["arguments"] if len(own) == 1 else None
        if call is None or not isinstance(tool.arguments, str):
            continue
        asked = [
            request["arguments"]
            for message in call.output or ()
            for request in message["tool_calls"]
            if request["name"] == tool.name and isinstance(request["arguments"], dict)
        ]
        fitting = [arguments for arguments in asked if list(arguments.values()) == [tool.arguments]]
        if fitting:
            tool.arguments = fitting[0]
