"""Puts together what a model saw where a request continues a response by its id: the provider holds the history.

What the earlier call was shown and answered is in its own spans, of this run or published before: history, answer, then
what is new; the instructions once, those of the present request. What cannot be put together is no observation.
`conversations` does the same where only a conversation is named, or nothing at all.

https://platform.openai.com/docs/guides/conversation-state
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Protocol

from etl.calls.likeness import message_key
from etl.dialects.shapes.json_values import decode
from etl.dialects.spans import LlmCall, Message
from etl.schema import RejectReason

ResponseKey = tuple[str, str]
"""(project, response id)"""

PREVIOUS = (
    "previous_response_id",
    "previous_response.id",  # gen_ai.request.previous_response.id
    "previousResponseId",
    "previous_interaction_id",
    "previousInteractionId",
)
CONVERSATION = ("conversation",)
INSTRUCTIONS = ("instructions",)

HELD = re.compile(r"conv_[0-9A-Za-z_-]+")
"""A conversation that the provider holds, by the form of its id."""

DEEPEST = 3
"""Objects within objects that are looked at for a parameter of the request."""


class Stored(Protocol):
    """Finds what is published of the calls that requests continue."""

    def responses(self, wanted: Collection[ResponseKey]) -> Mapping[ResponseKey, list[Message]]:
        """Return, by (project, response id), what was shown, with the answer as its last message."""

    def conversations(self, wanted: Collection[ResponseKey]) -> Mapping[ResponseKey, list[LlmCall]]:
        """Return, by (project, conversation id), its calls as they began; those that are no transition `incomplete`."""


def note_previous(calls: Iterable[LlmCall]) -> None:
    """Note on each call, in place, which response or conversation its request continues."""
    for call in calls:
        for span in (call.span, *call.merged):
            call.previous_response_id = call.previous_response_id or _parameter(span.attributes, PREVIOUS)
            conversation = _parameter(span.attributes, CONVERSATION)
            if conversation is not None and HELD.fullmatch(conversation):
                call.held_conversation = call.held_conversation or conversation
                call.conversation_id = call.conversation_id or conversation


def rebuild_histories(calls: Iterable[LlmCall], stored: Stored | None) -> None:
    """Complete the requests of calls that continue another, in place; those that cannot be are marked."""
    calls = sorted(calls, key=lambda call: (call.span.start_ns, call.span.span_id))
    continuing = [call for call in calls if call.previous_response_id is not None]
    if not continuing:
        return
    answered: dict[ResponseKey, list[LlmCall]] = defaultdict(list)
    for call in calls:
        if call.response_id is not None:
            answered[call.span.project, call.response_id].append(call)
    wanted = {(call.span.project, str(call.previous_response_id)) for call in continuing}
    found = stored.responses(wanted - answered.keys()) if stored is not None and wanted - answered.keys() else {}
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
    continued: dict[ResponseKey | int, list[LlmCall]] = defaultdict(list)
    for call in calls:
        if call.previous_response_id is not None:
            continued[_previous(call)].append(call)
        elif call.added_to is not None:
            continued[call.added_to].append(call)
    waiting = [call for call in calls if call.incomplete] if continued else []
    while waiting:
        call = waiting.pop()
        keys = (call.span.project, call.response_id or ""), call.span.index
        for later in (later for key in keys for later in continued.get(key, ())):
            if RejectReason.HISTORY_ELSEWHERE not in later.incomplete:
                later.incomplete.add(RejectReason.HISTORY_ELSEWHERE)
                waiting.append(later)


def _previous(call: LlmCall) -> ResponseKey:
    return call.span.project, str(call.previous_response_id)


def _only(alike: Collection[LlmCall]) -> LlmCall | None:
    return next(iter(alike)) if len(alike) == 1 else None


def _rebuild(call: LlmCall, earlier: LlmCall | None, stored: list[Message] | None) -> None:
    history = stored if _is_carried_on(stored or [], call) else None
    if earlier is not None and earlier is not call and is_whole(earlier):
        history = [*carried(earlier), as_said(earlier)]
    if history is None or RejectReason.HISTORY_ELSEWHERE in call.incomplete:
        call.incomplete.add(RejectReason.HISTORY_ELSEWHERE)
        return
    call.input = joined(history, call.input or [])


def _is_carried_on(stored: list[Message], call: LlmCall) -> bool:
    """Tell whether a published history goes on under the same instructions: it does not say which stood apart."""
    return not stored or stored[0]["role"] != "system" or stored[:1] == (call.input or [])[:1]


def is_whole(call: LlmCall) -> bool:
    """Tell whether all that a call was shown and answered is known, and the answer the only one."""
    return call.input is not None and len(call.output or ()) == 1 and not call.incomplete and not _is_pieced(call)


def _is_pieced(call: LlmCall) -> bool:
    return not call.pieced.isdisjoint({"input", "output"})


def carried(call: LlmCall) -> list[Message]:
    """Return a request's messages without its instructions, where these stood apart: they end with their response."""
    messages = call.input or []
    apart = _parameter(call.span.attributes, INSTRUCTIONS)
    has_apart = apart is not None or "gen_ai.system_instructions" in call.span.attributes
    if not has_apart or not messages or messages[0]["role"] != "system":
        return messages
    return messages[1:] if apart is None or messages[0].get("text") == apart else messages


def as_said(call: LlmCall) -> Message:
    """Return an answer as the message of a history."""
    answer = call.answer or {}
    text = answer.get("text")
    message: Message = {"role": "assistant", "text": text if text is not None else answer.get("refusal")}
    return {**message, "tool_calls": answer["tool_calls"]} if answer.get("tool_calls") else message


def joined(history: list[Message], added: list[Message]) -> list[Message]:
    """Return a history and what is new, under the present instructions; a request that holds its history stays."""
    if [message_key(message) for message in added[: len(history)]] == [message_key(message) for message in history]:
        return added
    start = next((n for n, message in enumerate(added) if message["role"] != "system"), len(added))
    instructions, new = added[:start], added[start:]
    if instructions and history and history[0]["role"] == "system":
        history = history[1:]
    return [*instructions, *history, *new]


def _parameter(attributes: Mapping[str, Any], names: Collection[str]) -> str | None:
    """Return a parameter of the request that an attribute is named after, or that the JSON of one holds."""
    tails = tuple(f".{one}" for one in names)
    for name, value in attributes.items():
        if f".{name}".endswith(tails) and isinstance(value, str) and value and value[0] not in "{[":
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
