"""Gives requests back what recorders leave out of their histories: calls of tools, and the ids of results.

A request that goes on from an earlier call of its trace begins with that call's request and answer. Where a recorder
wrote a history without the calls of tools, or put a word in their place, the earlier call's own span has them, and the
tools' spans have what they gave.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from etl.calls.likeness import message_key
from etl.dialects.spans import LlmCall, Message, ToolCall

MOST_EARLIER = 64
"""How many earlier calls of a trace are looked at for the one that a request goes on from."""


def complete_continuations(calls: Iterable[LlmCall], causes: Iterable[tuple[ToolCall, LlmCall | None]]) -> None:
    """Complete the histories of requests whose results of tools lack what asked for them, in place."""
    results = {
        (tool.span.project, tool.span.trace_id, tool.tool_call_id): tool.result if tool.error is None else tool.error
        for tool, _ in causes
        if tool.tool_call_id
    }
    earlier: dict[tuple[str, str], list[LlmCall]] = defaultdict(list)
    calls = sorted(calls, key=lambda call: (call.span.start_ns, call.span.span_id))
    lacking = {(call.span.project, call.span.trace_id) for call in calls if call.input and _lacks(call.input)}
    for call in calls:
        key = (call.span.project, call.span.trace_id)
        if key not in lacking:
            continue
        if call.input and _lacks(call.input):
            known = {identifier: result for (*trace, identifier), result in results.items() if tuple(trace) == key}
            _complete(call, earlier[key][-MOST_EARLIER:], known)
        if call.output and call.output[0]["tool_calls"]:
            earlier[key].append(call)


def _lacks(messages: list[Message]) -> bool:
    """Tell whether a result of a tool stands without its id, or without a call before it."""
    has_calls = False
    for message in messages:
        has_calls = has_calls or bool(message.get("tool_calls"))
        if message["role"] == "tool" and (not has_calls or message.get("tool_call_id") is None):
            return True
    return False


def _complete(call: LlmCall, earlier: list[LlmCall], results: dict[Any, str | None]) -> None:
    rebuilt: list[Message] = []
    is_exact = True
    messages = call.input or []
    position = 0
    while position < len(messages):
        message = messages[position]
        end = position + (message["role"] == "assistant")
        given = end
        while given < len(messages) and messages[given]["role"] == "tool":
            given += 1
        is_whole = _is_answered(message, messages[end:given])
        if given == end or is_whole:
            rebuilt += messages[position : max(given, position + 1)]
            position = max(given, position + 1)
            continue
        asked = message if message.get("tool_calls") else _asked(call, rebuilt, earlier)
        if asked is None:
            return
        texts = [m.get("text") for m in messages[end:given]]
        answers = [results.get(request["id"]) for request in asked["tool_calls"]]
        if len(texts) != len(answers) and None in answers:
            return
        known = [answer is None or answer == text for answer, text in zip(answers, texts, strict=False)]
        is_same = len(texts) == len(answers) and all(known)
        is_exact &= is_same and None not in answers and (message.get("text") or None) in (None, asked.get("text"))
        shown = texts if is_same else answers
        if None in shown:
            return
        rebuilt.append({"role": "assistant", "text": asked.get("text"), "tool_calls": asked["tool_calls"]})
        rebuilt += [
            {"role": "tool", "text": text, "tool_call_id": request["id"]}
            for request, text in zip(asked["tool_calls"], shown, strict=True)
        ]
        position = given
    call.input = rebuilt
    if not is_exact:
        call.pieced.add("input")


def _is_answered(message: Message, results: list[Message]) -> bool:
    """Tell whether results say what they are of: by ids, or in order where the API has no ids at all, as Ollama's."""
    asked = message.get("tool_calls") or ()
    has_ids = any(request["id"] for request in asked) or any(result.get("tool_call_id") for result in results)
    if not has_ids:
        return len(asked) == len(results)
    return bool(asked) and all(result.get("tool_call_id") for result in results)


def _asked(call: LlmCall, before: list[Message], earlier: list[LlmCall]) -> Message | None:
    """Return the answer of the call that was asked just what a request begins with; None where none or several are."""
    keys = [message_key(message) for message in before]
    found = [
        other
        for other in earlier
        if other.input is not None
        and len(other.input) == len(before)
        and other.agent == call.agent
        and [message_key(message) for message in other.input] == keys
    ]
    answers = {message_key(other.output[0]) for other in found if other.output}
    if not found or len(answers) != 1 or not found[-1].output:
        return None
    if "output" in found[-1].pieced:
        call.pieced.add("input")
    return found[-1].output[0]
