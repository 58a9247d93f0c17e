"""Puts together what a model saw where a request holds only what is new and names no response before it.

Providers hold conversations (`conversation` of the Responses API), and some recorders write only what a request added
to the one before, in one trace or, where the traces of a session are its turns, in the next. Which call a request was
added to, and that nothing else was said between, must be proven: by results of tools, which follow at once on the
answer that asked for them, or by the counts of tokens, in which what is known leaves no room for an exchange that is
not. What is not proven of a conversation that the provider holds is no observation.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping

import orjson

from etl.calls.completing.server_history import Stored, as_said, carried, is_whole, joined
from etl.calls.likeness import message_key
from etl.dialects.spans import LlmCall, Message
from etl.schema import RejectReason

MOST_EARLIER = 16
"""How many earlier calls of an agent are looked at for the one that a request was added to."""

CHARACTERS = 5.0
"""Most characters that the tokens of a text have on average; in prose it is four to four and a half."""

FRAME = 3
"""Least tokens that a template puts around a message."""

EXCHANGE = 2 * (FRAME + 1)
"""Tokens of the least question with its answer: two messages of a token each."""

Key = tuple[str, str]
"""(project, conversation)"""


def complete_conversations(calls: Iterable[LlmCall], stored: Stored | None) -> None:
    """Complete requests, in place, that were added to what the provider or the recorder has; mark what cannot be."""
    calls = sorted(calls, key=lambda call: (call.span.start_ns, call.span.span_id))
    published = _published(calls, stored)
    held: dict[Key, list[LlmCall]] = {}
    lines: dict[Hashable, list[LlmCall]] = defaultdict(list)
    for call in calls:
        if call.previous_response_id is not None:
            continue
        if call.held_conversation is not None:
            key = (call.span.project, call.held_conversation)
            line = held.setdefault(key, list(published.get(key, ())))
            _continue_held(call, line)
            line.append(call)
        elif call.input and _tokens(call) is not None:
            line = lines[_line(call, call.span.trace_id)]
            session = lines[_line(call, call.conversation_id)] if call.conversation_id else []
            before = [] if line or session else published.get((call.span.project, call.conversation_id or ""), [])
            _add(call, [*_of_line(call, before), *session[-MOST_EARLIER:], *line[-MOST_EARLIER:]])
            line.append(call)
            if call.conversation_id:
                session.append(call)


def _line(call: LlmCall, within: str) -> Hashable:
    return call.span.project, within, call.agent, call.span.scope


def _of_line(call: LlmCall, published: Iterable[LlmCall]) -> Iterator[LlmCall]:
    """Yield the published calls of a session that the same agent made, as the same recorder wrote them."""
    for earlier in published:
        is_before = earlier.span.end_ns <= call.span.start_ns
        if is_before and earlier.agent == call.agent and earlier.span.scope == call.span.scope:
            yield earlier


def _published(calls: list[LlmCall], stored: Stored | None) -> Mapping[Key, list[LlmCall]]:
    """Return the published calls of these calls' conversations, without those that are made anew.

    Of a session only where a request is short of text: most hold their history.
    """
    named = {(call.span.project, call.held_conversation) for call in calls if call.held_conversation}
    named |= {(call.span.project, call.conversation_id) for call in calls if call.conversation_id and _is_short(call)}
    if stored is None or not named:
        return {}
    own = {(call.span.project, call.span.trace_id, call.span.span_id) for call in calls}
    return {
        key: [one for one in found if (one.span.project, one.span.trace_id, one.span.span_id) not in own]
        for key, found in stored.conversations(named).items()
    }


def _is_short(call: LlmCall) -> bool:
    """Tell whether a request has fewer characters than its tokens must stand for, however dense its language is."""
    messages = call.input or []
    dense = (_characters(messages) + _schemas(call)) * 2 / CHARACTERS + 4 * FRAME * (len(messages) + 1)
    return (_tokens(call) or 0) > dense


def _continue_held(call: LlmCall, line: list[LlmCall]) -> None:
    """Complete a request of a conversation that the provider holds, in place; `line` are the calls of it before."""
    before = [one for one in line if one.span.start_ns <= call.span.start_ns]
    earlier = max(before, key=lambda one: (one.span.start_ns, one.span.span_id), default=None)
    added = call.input or []
    if earlier is None:
        is_proven = _leaves_no_room(_tokens(call), added, _schemas(call))
    else:
        is_ended = all(one.span.end_ns <= call.span.start_ns for one in before)
        is_proven = is_ended and is_whole(earlier) and call.tools == earlier.tools and _follows(call, earlier)
        if is_proven:
            call.input, call.added_to = joined([*carried(earlier), as_said(earlier)], added), _row(earlier)
    if not is_proven:
        call.incomplete.add(RejectReason.HISTORY_ELSEWHERE)


def _add(call: LlmCall, before: list[LlmCall]) -> None:
    """Complete a request, in place, whose recorder wrote only what it added to one before.

    Known by the counts of tokens: there are more than in the call before with its answer, in fewer characters, with
    the same tools on offer.
    """
    earlier = next((one for one in reversed(before[-MOST_EARLIER:]) if _is_added_to(call, one)), None)
    if earlier is None:
        return
    whole = joined([*(earlier.input or ()), as_said(earlier)], call.input or [])
    if _is_plausible(whole, call, earlier) and _follows(call, earlier):
        call.input, call.added_to = whole, _row(earlier)
    else:
        call.incomplete.add(RejectReason.HISTORY_ELSEWHERE)


def _is_added_to(call: LlmCall, earlier: LlmCall) -> bool:
    counted, before = _tokens(call), _tokens(earlier)
    if counted is None or before is None or not is_whole(earlier) or call.tools != earlier.tools:
        return False
    if counted < before + _written(earlier) or _size(call.input or []) >= _size(earlier.input or []):
        return False
    if any(message.get("media") for message in call.input or ()):  # what they count for is not known
        return False
    return not _holds(call, earlier) and _answers(call, earlier) is not False


def _row(call: LlmCall) -> int | None:
    return call.span.index if call.span.index >= 0 else None


def _holds(call: LlmCall, earlier: LlmCall) -> bool:
    """Tell whether a request holds an earlier answer already."""
    said = message_key(as_said(earlier))
    return any(message["role"] == "assistant" and message_key(message) == said for message in call.input or ())


def _answers(call: LlmCall, earlier: LlmCall) -> bool | None:
    """Tell whether a request begins with results of what an answer asked for; None where it asked for no tool."""
    asked = {request["id"] for request in (earlier.answer or {}).get("tool_calls") or ()}
    new = _new(call)
    given = {message.get("tool_call_id") for message in new if message["role"] == "tool"}
    if not asked:
        return False if new and new[0]["role"] == "tool" else None
    return bool(new) and new[0]["role"] == "tool" and asked <= given and None not in asked


def _follows(call: LlmCall, earlier: LlmCall) -> bool:
    """Tell whether a request is proven to follow on an answer, with nothing said between that is not known."""
    if _answers(call, earlier) is not None:
        return bool(_answers(call, earlier))
    counted, before = _tokens(call), _tokens(earlier)
    if counted is None or before is None or _instructions(call) not in ([], _instructions(earlier)):
        return False
    return _leaves_no_room(counted - before - _written(earlier) - FRAME, _new(call))  # the answer is a message now


def _leaves_no_room(counted: int | None, messages: list[Message], schemas: int = 0) -> bool:
    """Tell whether so many tokens are all of these messages, so that no exchange is hidden among them."""
    if counted is None or not messages:
        return False
    least = (_characters(messages) + schemas / 2) / CHARACTERS + FRAME * len(messages)
    return least / 2 <= counted < least + EXCHANGE


def _new(call: LlmCall) -> list[Message]:
    return [message for message in call.input or () if message["role"] != "system"]


def _instructions(call: LlmCall) -> list[str | None]:
    return [message.get("text") for message in call.input or () if message["role"] == "system"]


def _schemas(call: LlmCall) -> int:
    return len(orjson.dumps(call.tools, default=str)) if call.tools else 0


def _characters(messages: Iterable[Message]) -> int:
    asked = [request for message in messages for request in message.get("tool_calls") or ()]
    texts = sum(len(message.get("text") or "") for message in messages)
    return texts + sum(_size_of(request["arguments"]) + len(request["name"] or "") for request in asked)


def _written(call: LlmCall) -> int:
    """Return how many tokens of an answer the next request has: what was thought is left out."""
    usage = call.usage or {}
    return (usage.get("output_tokens") or 0) - (usage.get("reasoning_tokens") or 0)


def _is_plausible(whole: list[Message], call: LlmCall, earlier: LlmCall) -> bool:
    """Tell whether a rebuilt request has about as many characters a token as the one it was added to."""
    rate, known = _size(whole) / (_tokens(call) or 1), _size(earlier.input or []) / (_tokens(earlier) or 1)
    return known / 2 <= rate <= known * 2


def _tokens(call: LlmCall) -> int | None:
    return (call.usage or {}).get("input_tokens") or None


def _size(messages: Iterable[Message]) -> int:
    return _size_of(list(messages))


def _size_of(value: object) -> int:
    return len(orjson.dumps(value, default=str))
