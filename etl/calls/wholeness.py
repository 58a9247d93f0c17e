"""Says of every call whether the recording is the whole exchange: what is cut, missing, or not understood."""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from etl.calls.likeness import message_key
from etl.dialects.shapes import gemini
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.canonical import UNREAD, has_content
from etl.dialects.shapes.messages.names import is_text_block
from etl.dialects.spans import LlmCall, Message
from etl.dialects.structure.recognition import is_messages
from etl.schema import RejectReason

ASKS_FOR_TOOLS = {"tool_calls", "tool_call", "tool_use", "function_call", "tool-calls"}
"""Finish reasons of an answer that calls tools; the Responses API's and Gemini's say nothing of it."""

FILTERED = "FILTERED"
"""What Traceloop writes, up to 0.40, in place of an answer that was filtered."""


PRINTED = re.compile(r"(?:\[(?:\w+\.)*[A-Z]\w*\(\s*|(?:\w+\.)*[A-Z]\w*\(\n\s*)\w+=")
"""How Python prints objects that have fields, several or over several lines: what was sent is what they hold."""

ROLES = {"system", "user", "assistant", "tool"}


def judge(calls: Sequence[LlmCall]) -> None:
    """Note on each call what is not whole of it, and take the marks out of its messages, in place."""
    alone: list[tuple[LlmCall, set[str | None]]] = []
    for call in calls:
        if call.input is not None:
            call.input = _without_marks(call, call.input)
            if any(_is_hole(message) or message["role"] not in ROLES for message in call.input) or _is_dump(call.input):
                call.incomplete.add(RejectReason.NOT_UNDERSTOOD)
            if call.api == gemini.API and any(_is_unboxed(message) for message in call.input):
                call.incomplete.add(RejectReason.NOT_UNDERSTOOD)
            if _lacks_results(call.input):
                call.incomplete.add(RejectReason.RESULT_MISSING)
            unasked = _results_without_call(call.input)
            if unasked:
                alone.append((call, unasked))
        if call.output is not None:
            call.output = _without_marks(call, call.output)
            _judge_answer(call)
    if alone:
        _judge_results(alone, calls)
    _judge_additions(calls)


def judge_by_histories(calls: Sequence[LlmCall]) -> None:
    """Note on calls, whose beginnings are numbered, where a later request goes on as if they had asked for tools."""
    asked: dict[Hashable, list[LlmCall]] = defaultdict(list)
    for call in calls:
        if call.output and call.beginnings:
            asked[call.span.project, call.span.trace_id, call.beginnings[-1]].append(call)
    for call in calls:
        messages = call.input or []
        for position, number in enumerate(call.beginnings[: len(messages)]):
            for earlier in asked.get((call.span.project, call.span.trace_id, number), ()):
                if earlier is call:
                    continue
                if any(message["tool_calls"] for message in earlier.output or ()):
                    _judge_calling(earlier, messages[position])
                elif _went_on_with_tools(messages, position, earlier):
                    earlier.incomplete.add(RejectReason.CALL_MISSING)


def _judge_calling(earlier: LlmCall, later: Message) -> None:
    """Note that an answer which calls tools lost words or calls, where a history of the same question has more."""
    asked = _asked_for(later)
    for message in earlier.output or ():
        own = _asked_for(message)
        if own and own == asked and later.get("text") and not message["text"]:
            earlier.incomplete.add(RejectReason.TEXT_MISSING)
        elif own and len(asked) > len(own) and all(request in asked for request in own):
            earlier.incomplete.add(RejectReason.CALL_MISSING)


def _asked_for(message: Message) -> list[tuple[str | None, str]]:
    return [(call["name"], str(call["arguments"])) for call in message.get("tool_calls") or ()]


def judge_answers_by_histories(calls: Sequence[LlmCall]) -> None:
    """Note on calls, whose requests are as they will stay, where a later history has other words beside their tools.

    Or where it has arguments of a tool that the answer has none of: a writer lost the pieces they came in.
    """
    asked: dict[Hashable, tuple[LlmCall, Message]] = {}
    for call in calls:
        for message in call.output or ():
            identifiers = tuple(request["id"] for request in message["tool_calls"])
            if identifiers and all(identifiers):
                asked[call.span.project, call.span.trace_id, identifiers] = call, message
    for call in calls if asked else ():
        for message in call.input or ():
            identifiers = tuple(request["id"] for request in message.get("tool_calls") or ())
            found = asked.get((call.span.project, call.span.trace_id, identifiers)) if identifiers else None
            if found is None:
                continue
            if message.get("text") and (found[1]["text"] or "") != message["text"]:
                found[0].incomplete.add(RejectReason.CONTRADICTORY)
            pairs = zip(found[1]["tool_calls"], message["tool_calls"], strict=True)
            if any(later["arguments"] and not own["arguments"] for own, later in pairs):
                found[0].incomplete.add(RejectReason.CALL_MISSING)


def judge_instructions(calls: Sequence[LlmCall]) -> None:
    """Note on calls that they lack the instructions which the same conversation has before or after them.

    Of two requests of which one goes on from the other's answer, both have instructions, or none; the one without
    lost them. Providers that hold histories take them anew with each request, so such a call is left alone.
    """
    agents: dict[Hashable, list[LlmCall]] = defaultdict(list)
    for call in calls:
        if call.input and call.answer is not None and call.previous_response_id is None:
            agents[call.span.project, call.agent].append(call)
    for own in agents.values():
        has_instructions = {_has_instructions(call) for call in own}
        if len(has_instructions) > 1:
            _judge_instructions(own)


def _judge_instructions(calls: Sequence[LlmCall]) -> None:
    numbers: dict[tuple[int, Hashable], int] = {}
    ends: dict[int, list[LlmCall]] = defaultdict(list)
    beginnings: list[list[int]] = []
    for call in calls:
        current, own = 0, []
        for message in call.input or ():
            if message["role"] != "system":
                current = numbers.setdefault((current, message_key(message)), len(numbers) + 1)
                own.append(current)
        beginnings.append(own)
        ends[numbers.setdefault((current, message_key(call.answer or {"role": ""})), len(numbers) + 1)].append(call)
    for call, own in zip(calls, beginnings, strict=True):
        for number in own:
            for earlier in ends.get(number, ()):
                if _has_instructions(earlier) != _has_instructions(call):
                    lost = call if _has_instructions(earlier) else earlier
                    lost.incomplete.add(RejectReason.CONTRADICTORY)


def _has_instructions(call: LlmCall) -> bool:
    return any(message["role"] == "system" for message in call.input or ())


def _went_on_with_tools(messages: Sequence[Message], position: int, earlier: LlmCall) -> bool:
    """Tell whether a history goes on from here with tools, an answer's words before them or not."""
    said = earlier.output[0].get("text") if earlier.output else None
    if said and messages[position].get("text") == said and _asks_next(messages, position):
        return True
    if messages[position].get("tool_calls") and said and messages[position].get("text") == said:
        return True
    following = messages[position : position + 2]
    roles = [message["role"] for message in following]
    is_silent = len(following) > 1 and not following[0].get("tool_calls")
    return roles[:1] == ["tool"] or (roles == ["assistant", "tool"] and is_silent)


def _asks_next(messages: Sequence[Message], position: int) -> bool:
    """Tell whether the message after an answer's words is the call of a tool, as an item of its own."""
    following = messages[position + 1 : position + 2]
    return any(message["role"] == "assistant" and bool(message.get("tool_calls")) for message in following)


def _is_hole(message: Message) -> bool:
    """Tell whether a message of a request says nothing at all: no provider takes it, no user sends it.

    An answer that was empty is rare; one whose calls of tools a recorder dropped is not.
    """
    is_silent = not message.get("text") if message["role"] in {"user", "assistant"} else message.get("text") is None
    return is_silent and not message.get("tool_calls") and not message.get("media")


def _is_unboxed(message: Message) -> bool:
    """Tell whether a result was recorded before a client put it into the object that Gemini's API takes alone.

    Each client has a box of its own (`{"output": ...}`, `{"name": ..., "content": ...}`), which nothing tells.
    """
    return message["role"] == "tool" and not isinstance(decode(message.get("text")), dict)


def _is_dump(messages: Sequence[Message]) -> bool:
    """Tell whether a text is what was sent as JSON or as printed objects: all messages, or the blocks of one."""
    if any(message["role"] in {"system", "user"} and PRINTED.match(message.get("text") or "") for message in messages):
        return True
    said = [message for message in messages if message["role"] != "system"]
    for message in messages:
        text = message.get("text") or ""
        if message["role"] != "tool" and text[:2] == "[{" and isinstance(items := decode(text), list):
            is_alone = len(said) == 1 and message is said[0]
            if (is_alone and is_messages(items)) or all(is_text_block(item) and "type" in item for item in items):
                return True
    return False


def _without_marks(call: LlmCall, messages: list[Message]) -> list[Message]:
    if not any(UNREAD in message for message in messages):
        return messages
    call.incomplete.add(RejectReason.NOT_UNDERSTOOD)
    return [{key: value for key, value in message.items() if key != UNREAD} for message in messages]


def _judge_results(alone: Sequence[tuple[LlmCall, set[str | None]]], calls: Iterable[LlmCall]) -> None:
    """Note that results lack what asked for them, but for those that another agent asked for and handed on."""
    asked_by = {
        (call.span.project, call.span.trace_id, request["id"]): _role(call)
        for call in calls
        for message in call.output or ()
        for request in message["tool_calls"]
        if request["id"]
    }
    for call, unasked in alone:
        own = _role(call)
        others = (asked_by.get((call.span.project, call.span.trace_id, identifier), own) for identifier in unasked)
        if any(other == own for other in others):
            call.incomplete.add(RejectReason.RESULT_WITHOUT_CALL)


def _judge_additions(calls: Sequence[LlmCall]) -> None:
    """Note that requests are only what was new in them, where their writer records one that holds results alone.

    No provider takes such a request, so what went before was sent, and is not recorded; nor is it in that writer's
    other requests that go on from an earlier call.
    """
    writers = {
        (call.span.project, call.span.scope)
        for call in calls
        if call.input
        and call.previous_response_id is None
        and call.held_conversation is None
        and all(message["role"] == "tool" for message in call.input)
    }
    if not writers:
        return
    begun: set[tuple[str, str]] = set()
    for call in sorted(calls, key=lambda call: call.span.start_ns):
        if (call.span.project, call.span.scope) in writers and call.input:
            trace = (call.span.project, call.span.trace_id)
            if trace in begun and not any(message["role"] == "assistant" for message in call.input):
                call.incomplete.add(RejectReason.HISTORY_ELSEWHERE)
            begun.add(trace)


def _role(call: LlmCall) -> tuple[str | None, str | None]:
    first = call.input[0] if call.input else {"role": None}
    return call.agent, first.get("text") if first["role"] == "system" else None


def _results_without_call(messages: Sequence[Message]) -> set[str | None]:
    """Return the ids, None for one without, of the results of tools that nothing before them asked for."""
    asked: set[str | None] = set()
    unasked: set[str | None] = set()
    for message in messages:
        for call in message.get("tool_calls") or ():
            asked.add(call["id"])
        if message["role"] == "tool":
            identifier = message.get("tool_call_id")
            is_asked = bool(asked) if identifier is None else identifier in asked or None in asked
            if not is_asked:
                unasked.add(identifier)
    return unasked


def _lacks_results(messages: Sequence[Message]) -> bool:
    """Tell whether a call of a tool has no result before the conversation goes on, or at its end."""
    waiting: list[str | None] = []
    for message in messages:
        if message["role"] == "tool":
            identifier = message.get("tool_call_id")
            if identifier in waiting:
                waiting.remove(identifier)
            elif waiting and (identifier is None or None in waiting):
                waiting.remove(None if None in waiting else waiting[0])
        elif message["role"] == "assistant":
            waiting += [request["id"] for request in message.get("tool_calls") or ()]
        elif waiting:
            return True
    return bool(waiting)


def _judge_answer(call: LlmCall) -> None:
    for message in call.output or ():
        if message["finish_reason"] in ASKS_FOR_TOOLS and not message["tool_calls"]:
            call.incomplete.add(RejectReason.CALL_MISSING)
        if message["finish_reason"] == "content_filter" and message["text"] == FILTERED:
            call.incomplete.add(RejectReason.TEXT_MISSING)
        if any(request["name"] is None for request in message["tool_calls"]):
            call.incomplete.add(RejectReason.NOT_UNDERSTOOD)
        if any(
            request["arguments"] is None and _needs_arguments(call, request["name"])
            for request in message["tool_calls"]
        ):
            call.incomplete.add(RejectReason.CALL_MISSING)
    usage = call.usage or {}
    written = (usage.get("output_tokens") or 0) - (usage.get("reasoning_tokens") or 0)
    has_ids = call.response_token_ids is not None and len(call.response_token_ids) > 0
    said = [has_content(message) for message in call.output or ()]
    if any(said) and not all(said) and not has_ids:  # no choices: pieces of one answer, some of which were lost
        call.incomplete.add(RejectReason.NOT_UNDERSTOOD)
    is_known = has_ids or any(said)
    if written > 1 and call.error is None and not is_known:  # ids may be no character yet, and are the answer
        call.incomplete.add(RejectReason.TEXT_MISSING)
    is_counted = written > 1 and call.api != gemini.API  # which counts in every piece
    if any(said) and not has_ids and not is_counted and _has_no_end(call):
        call.incomplete.add(RejectReason.LEFT_EARLY)


def _has_no_end(call: LlmCall) -> bool:
    """Tell whether a stream ended without a reason: its last pieces tell that and the counts, its first at most a 1.

    A reader that stops before them, or is stopped, has the beginning of an answer.
    """
    reasons = (message["finish_reason"] for message in call.output or ())
    return call.streamed is True and call.error is None and not call.finish_reasons and not any(reasons)


def _needs_arguments(call: LlmCall, name: str | None) -> bool:
    """Tell whether a tool, as it was offered, cannot be called without arguments."""
    schemas = [tool["parameters"] for tool in call.tools or () if tool["name"] == name]
    return any(isinstance(schema, dict) and bool(schema.get("required")) for schema in schemas)
