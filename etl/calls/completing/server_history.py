"""Puts together what a model saw of which a request holds only what is new.

The Responses API continues an earlier response by its id (`previous_response_id`): the provider holds the history. Some
recorders write only what a request added to the one before. What the earlier call was shown and answered is in its own
spans, of this run or published before: history, answer, then what is new; the instructions once, those of the present
request. What cannot be put together is no observation.

https://platform.openai.com/docs/guides/conversation-state
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import orjson

from etl.calls.likeness import message_key
from etl.dialects.shapes.json_values import decode
from etl.dialects.spans import LlmCall, Message
from etl.schema import RejectReason

ResponseKey = tuple[str, str]
"""(project, response id)"""

Stored = Callable[[Collection[ResponseKey]], Mapping[ResponseKey, list[Message]]]
"""Finds published responses: what was shown, with the answer as its last message."""

PREVIOUS = ("previous_response_id", "previousResponseId")
CONVERSATION = ("conversation",)
INSTRUCTIONS = ("instructions",)

DEEPEST = 3
"""Objects within objects that are looked at for a parameter of the request."""

MOST_EARLIER = 16
"""How many earlier calls of an agent are looked at for the one that a request was added to."""


def note_previous(calls: Iterable[LlmCall]) -> None:
    """Note on each call, in place, which response or conversation its request continues."""
    for call in calls:
        for span in (call.span, *call.merged):
            call.previous_response_id = call.previous_response_id or _parameter(span.attributes, PREVIOUS)
            conversation = _parameter(span.attributes, CONVERSATION)
            if conversation is not None and conversation.startswith("conv_"):
                call.incomplete.add(RejectReason.HISTORY_ELSEWHERE)


def rebuild_histories(calls: Iterable[LlmCall], stored: Stored | None) -> None:
    """Complete the requests of calls that continue another, in place; those that cannot be are marked."""
    calls = sorted(calls, key=lambda call: (call.span.start_ns, call.span.span_id))
    _add_recorded(calls)
    continuing = [call for call in calls if call.previous_response_id is not None]
    if not continuing:
        return
    answered: dict[ResponseKey, list[LlmCall]] = defaultdict(list)
    for call in calls:
        if call.response_id is not None:
            answered[call.span.project, call.response_id].append(call)
    wanted = {(call.span.project, str(call.previous_response_id)) for call in continuing}
    found = stored(wanted - answered.keys()) if stored is not None and wanted - answered.keys() else {}
    is_done: set[int] = set()
    for call in continuing:
        line = [call]
        while (earlier := _only(answered.get(_previous(line[-1]), ()))) is not None and earlier not in line:
            if earlier.previous_response_id is None or earlier.span.index in is_done:
                break
            line.append(earlier)
        for one in reversed(line):
            if one.span.index not in is_done:
                is_done.add(one.span.index)
                _rebuild(one, _only(answered.get(_previous(one), ())), found.get(_previous(one)))


def spread_incompleteness(calls: Iterable[LlmCall]) -> None:
    """Mark the calls, in place, that continue one of which not all is known."""
    calls = list(calls)
    continued = defaultdict(list)
    for call in calls:
        if call.previous_response_id is not None:
            continued[_previous(call)].append(call)
    waiting = [call for call in calls if call.incomplete] if continued else []
    while waiting:
        call = waiting.pop()
        for later in continued.get((call.span.project, call.response_id or ""), ()):
            if RejectReason.HISTORY_ELSEWHERE not in later.incomplete:
                later.incomplete.add(RejectReason.HISTORY_ELSEWHERE)
                waiting.append(later)


def _previous(call: LlmCall) -> ResponseKey:
    return call.span.project, str(call.previous_response_id)


def _only(alike: Collection[LlmCall]) -> LlmCall | None:
    return next(iter(alike)) if len(alike) == 1 else None


def _rebuild(call: LlmCall, earlier: LlmCall | None, stored: list[Message] | None) -> None:
    history = stored
    if earlier is not None and earlier is not call and _is_whole(earlier):
        history = [*_carried(earlier), _as_said(earlier)]
    if history is None or RejectReason.HISTORY_ELSEWHERE in call.incomplete:
        call.incomplete.add(RejectReason.HISTORY_ELSEWHERE)
        return
    call.input = _joined(history, call.input or [])


def _is_whole(call: LlmCall) -> bool:
    return call.input is not None and call.answer is not None and not call.incomplete and not _is_pieced(call)


def _is_pieced(call: LlmCall) -> bool:
    return not call.pieced.isdisjoint({"input", "output"})


def _carried(call: LlmCall) -> list[Message]:
    """Return a request's messages without its instructions, where these stood apart: they end with their response."""
    messages = call.input or []
    apart = _parameter(call.span.attributes, INSTRUCTIONS)
    has_apart = apart is not None or "gen_ai.system_instructions" in call.span.attributes
    if not has_apart or not messages or messages[0]["role"] != "system":
        return messages
    return messages[1:] if apart is None or messages[0].get("text") == apart else messages


def _as_said(call: LlmCall) -> Message:
    """Return an answer as the message of a history."""
    answer = call.answer or {}
    text = answer.get("text")
    message: Message = {"role": "assistant", "text": text if text is not None else answer.get("refusal")}
    return {**message, "tool_calls": answer["tool_calls"]} if answer.get("tool_calls") else message


def _joined(history: list[Message], added: list[Message]) -> list[Message]:
    """Return a history and what is new; a request that holds its history already stays."""
    if [message_key(message) for message in added[: len(history)]] == [message_key(message) for message in history]:
        return added
    start = next((n for n, message in enumerate(added) if message["role"] != "system"), len(added))
    instructions, new = added[:start], added[start:]
    if instructions and history and history[0]["role"] == "system":
        history = history[1:]
    return [*instructions, *history, *new]


def _parameter(attributes: Mapping[str, Any], names: Collection[str]) -> str | None:
    """Return a parameter of the request that an attribute is named after, or that the JSON of one holds."""
    for name, value in attributes.items():
        if name.rsplit(".", 1)[-1] in names and isinstance(value, str) and value and value[0] not in "{[":
            return value
        if isinstance(value, str) and value[:1] == "{" and any(f'"{one}"' in value for one in names):
            found = next(_within(decode(value), names, DEEPEST), None)
            if found is not None:
                return found
    return None


def _within(value: Any, names: Collection[str], depth: int) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if not isinstance(value, dict) or not depth:
        return
    for name in names:
        found = value.get(name)
        found = found.get("id") if isinstance(found, dict) else found
        if isinstance(found, str) and found:
            yield found
    for inner in value.values():
        yield from _within(inner, names, depth - 1)


def _add_recorded(calls: Iterable[LlmCall]) -> None:
    """Complete requests, in place, whose recorder wrote only what they added to the one before.

    Proven by the counts of tokens: there are more than in the call before with its answer, in fewer characters, with
    the same tools on offer.
    """
    lines: dict[tuple[str, str, str | None, str], list[LlmCall]] = defaultdict(list)
    for call in calls:
        line = lines[call.span.project, call.span.trace_id, call.agent, call.span.scope]
        if call.input and _tokens(call) is not None:
            earlier = next((one for one in reversed(line[-MOST_EARLIER:]) if _is_added_to(call, one)), None)
            if earlier is not None and call.previous_response_id is None:
                whole = _joined([*(earlier.input or ()), _as_said(earlier)], call.input)
                if _is_plausible(whole, call, earlier):
                    call.input = whole
                else:
                    call.incomplete.add(RejectReason.HISTORY_ELSEWHERE)
            line.append(call)


def _is_added_to(call: LlmCall, earlier: LlmCall) -> bool:
    counted, before = _tokens(call), _tokens(earlier)
    if counted is None or before is None or not _is_whole(earlier) or call.tools != earlier.tools:
        return False
    added = call.input or []
    first = next((message for message in added if message["role"] != "system"), None)
    answered = {request["id"] for request in (earlier.answer or {}).get("tool_calls") or ()} - {None}
    is_result = first is not None and first["role"] == "tool"
    if is_result != bool(answered) or (is_result and (first or {}).get("tool_call_id") not in answered):
        return False
    written = (earlier.usage or {}).get("output_tokens") or 0
    return counted >= before + written and _size(added) < _size(earlier.input or [])


def _is_plausible(whole: list[Message], call: LlmCall, earlier: LlmCall) -> bool:
    """Tell whether a rebuilt request has about as many characters a token as the one it was added to."""
    rate, known = _size(whole) / (_tokens(call) or 1), _size(earlier.input or []) / (_tokens(earlier) or 1)
    return known / 2 <= rate <= known * 2


def _tokens(call: LlmCall) -> int | None:
    return (call.usage or {}).get("input_tokens") or None


def _size(messages: Iterable[Message]) -> int:
    return len(orjson.dumps(list(messages), default=str))
