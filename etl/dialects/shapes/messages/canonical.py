"""Whatever shape messages were recorded in, the canonical ones come out. Text itself is never decoded."""

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any

from etl.dialects.shapes.messages.draft import Draft, draft_of
from etl.dialects.shapes.messages.names import RESULT_IDS, block_kind, first, role_of, visible
from etl.dialects.shapes.messages.tools import result_text, tool_result, unpacked
from etl.dialects.spans import Message

UNREAD = "unread"
"""Key of a message in which there was something that nobody understood; `etl.dialects.reading` takes it out."""

UNKNOWN_EVENT = "gen_ai.unknown"
"""Logfire's name for an item it has no event for: reasoning, mostly. The item is in `data`, its content is a remark."""


def canonical_input(items: Iterable[Any], before: Iterable[Message] = ()) -> list[Message]:
    """Read a request's messages, whoever's shape they are in; one recorded item may hold several tool results.

    `before` are those that the request begins with, read already; they stay as they are.

    >>> canonical_input([{"role": "user", "parts": [{"type": "text", "content": "hi"}]}])
    [{'role': 'user', 'text': 'hi'}]
    """
    messages = [*before]
    is_unread = False
    for item in items:
        if isinstance(item, dict) and item.get("event.name") == UNKNOWN_EVENT:
            item = item.get("data")
        kind = block_kind(item["type"]) if isinstance(item, dict) and isinstance(item.get("type"), str) else None
        if not isinstance(item, dict):
            is_unread = True
        elif "role" in item or "parts" in item:
            for turn in _turns(item):
                messages += _canonical(turn)
        elif kind == "call":
            _append_call(messages, item)
        elif kind == "result":
            value = first(item, "output", "result", "response", "content")
            messages.append(tool_result(first(item, *RESULT_IDS), unpacked(value)))
        elif kind == "reasoning":
            continue  # the provider's own bookkeeping: it is not part of what a chat template shows
        elif "content" in item:
            messages += _canonical(item)
        else:
            is_unread = True
        if is_unread and messages:
            messages[-1] = {**messages[-1], UNREAD: True}
            is_unread = False
    return messages


def _result(identifier: Any, value: Any, failed: set[str]) -> Message:  # noqa: ANN401
    message = tool_result(identifier, value)
    return {**message, "is_error": True} if str(identifier) in failed else message


def _append_call(messages: list[Message], item: dict[str, Any]) -> None:
    draft = Draft()
    draft.add_call(item)
    call = draft.calls[0]
    last = messages[-1] if messages else None
    if last is not None and last["role"] == "assistant":
        messages[-1] = {**last, "tool_calls": [*last.get("tool_calls", ()), call]}
    else:
        messages.append({"role": "assistant", "text": None, "tool_calls": [call]})


def _turns(item: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Take apart what an agent keeps as one message: its calls of tools, their results, and what it said then."""
    name = "parts" if "parts" in item else "content"
    blocks = item.get(name)
    if not isinstance(blocks, list) or role_of(item.get("role")) != "assistant":
        return [item]
    are_results = [_is_result(block) for block in blocks]
    if not any(are_results) or all(are_results):
        return [item]
    runs = [
        (is_result, [block for _, block in run])
        for is_result, run in groupby(zip(are_results, blocks, strict=True), key=itemgetter(0))
    ]
    rest = {key: value for key, value in item.items() if key not in {name, "tool_calls"}}
    return [{**rest, "role": "tool" if is_result else "assistant", name: run} for is_result, run in runs]


def _is_result(block: Any) -> bool:  # noqa: ANN401 - whatever was recorded
    return isinstance(block, dict) and isinstance(block.get("type"), str) and block_kind(block["type"]) == "result"


def _canonical(item: dict[str, Any]) -> list[Message]:
    role = role_of(item.get("role"))
    draft = draft_of(item)
    if role == "user" and isinstance(item.get("tool_call_id"), str) and not draft.results:  # Anthropic's, taken apart
        role = "tool"
    if role == "tool" and not draft.results:
        identifier = first(item, "tool_call_id", "call_id", "id")
        content = item.get("content")
        text = draft.joined_text() if draft.text or isinstance(content, str) else result_text(content)
        return [{"role": "tool", "text": text, "tool_call_id": visible(identifier) or None}]
    messages = [_result(identifier, value, draft.failed) for identifier, value in draft.results]
    if draft.results and not draft.text and not draft.calls and not draft.media:
        return messages
    text = draft.joined_text()
    message: Message = {"role": role, "text": text if text is not None else draft.refusal}
    if draft.calls:
        message["tool_calls"] = draft.calls
    if draft.media:
        message["media"] = draft.media
        message["parts"] = draft.parts
    if draft.is_unread or UNREAD in item:
        message[UNREAD] = True
    return [*messages, message]


def canonical_output(items: Iterable[Any], finish_reasons: Iterable[str | None] = ()) -> list[Message]:
    """Read an answer, one message a choice; reasons given apart win over those inside.

    >>> canonical_output([{"role": "assistant", "content": "hi", "finish_reason": "stop"}])[0]["finish_reason"]
    'stop'
    """
    reasons = list(finish_reasons)
    answers: list[Message] = []
    for number, item in enumerate(entry for entry in items if isinstance(entry, dict)):
        draft = draft_of(item)
        reason = reasons[number] if number < len(reasons) and reasons[number] else item.get("finish_reason")
        answers.append(answer(draft.joined_text(), draft.calls, draft.refusal, reason, "\n".join(draft.reasoning)))
        if draft.is_unread or draft.is_bare:
            answers[-1][UNREAD] = True
    return answers


def answer(
    text: str | None,
    calls: list[dict[str, Any]],
    refusal: str | None = None,
    finish_reason: Any = None,  # noqa: ANN401 - whatever was recorded
    reasoning: str | None = None,
) -> Message:
    """Return a canonical answer."""
    message: Message = {
        "role": "assistant",
        "text": None if text == "" and calls else text,
        "tool_calls": calls,
        "refusal": refusal,
        "finish_reason": finish_reason if isinstance(finish_reason, str) and finish_reason else None,
    }
    if reasoning:
        message["reasoning"] = reasoning
    return message


def has_content(message: Message) -> bool:
    """Tell whether an answer says anything."""
    return any(message.get(key) not in (None, "", []) for key in ("text", "tool_calls", "refusal", "reasoning"))


def responses_output(items: Iterable[Any], finish_reason: str | None) -> Message:
    """Join the output items of one Responses API call into the one answer they are."""
    draft = Draft()
    for item in items:
        if not isinstance(item, dict):
            continue
        if item.get("type") == "message" or "role" in item:
            inner = draft_of(item)
            draft.text += inner.text
            draft.calls += inner.calls
            draft.reasoning += inner.reasoning
            draft.refusal = inner.refusal or draft.refusal
        else:
            draft.add(item)
    return answer(draft.joined_text(), draft.calls, draft.refusal, finish_reason, "\n".join(draft.reasoning))


def join_answers(answers: list[Message]) -> list[Message]:
    """Join consecutive output messages of one Responses call: its items are one answer, not several choices."""
    if len(answers) <= 1:
        return answers
    texts = [message["text"] for message in answers if message["text"]]
    reasoning = "\n".join(message["reasoning"] for message in answers if message.get("reasoning"))
    refusal = next((message["refusal"] for message in answers if message["refusal"]), None)
    reason = next((message["finish_reason"] for message in reversed(answers) if message["finish_reason"]), None)
    calls = [call for message in answers for call in message["tool_calls"]]
    return [answer("\n".join(texts) if texts else None, calls, refusal, reason, reasoning)]


def join_turns(messages: list[Message]) -> list[Message]:
    """Join consecutive assistant messages of a Responses request: its items are pieces of one turn.

    Logfire repeats the words of a turn beside each of its calls.
    """
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if last is None or last["role"] != "assistant" or message["role"] != "assistant":
            joined.append(message)
            continue
        is_again = bool(message.get("tool_calls")) and message.get("text") == last.get("text")
        texts = [text for text in (last.get("text"), None if is_again else message.get("text")) if text]
        calls = [*last.get("tool_calls", ()), *message.get("tool_calls", ())]
        merged: Message = {"role": "assistant", "text": "\n".join(texts) if texts else None}
        joined[-1] = {**merged, "tool_calls": calls} if calls else merged
    return joined
