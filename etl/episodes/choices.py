"""Says which of several choices was the action, the one that the agent went on from, and what the others would be."""

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from etl.calls.tokens import Decode, drop_impossible, mismatched
from etl.calls.tool_layers import is_same_name
from etl.dialects.shapes.messages.canonical import has_content
from etl.dialects.spans import LlmCall, Message, ToolCall


def choose(
    calls: Sequence[LlmCall],
    causes: Iterable[tuple[ToolCall, LlmCall | None]],
    of_session: Collection[Hashable] = (),
) -> None:
    """Set the choice of calls with several, in place; `calls` are one episode's, numbered and as they began.

    `of_session` are the beginnings of every request of the episode's session: a chat goes on in its next trace.

    It is the first, in the order of choices, that a later request holds after the question; else whose tools ran; else
    whose words a later request holds, as a message or as the only ones within one; else the first choice. Its token ids
    and log-probabilities are the call's.
    """
    several = [call for call in calls if len(call.output or ()) > 1]
    if not several:
        return
    held = {number for call in calls for number in call.beginnings}.union(of_session)
    rows = {call.span.index for call in several}
    ran = [(cause.span.index, tool) for tool, cause in causes if cause is not None and cause.span.index in rows]
    for call in several:
        said = {message.get("text") or "" for other in calls if other is not call for message in other.input or ()}
        tools = [tool for row, tool in ran if row == call.span.index]
        answers = call.output or []
        proofs = (
            [number in held for number in call.endings],
            [any(_is_for(tool, request) for tool in tools for request in answer["tool_calls"]) for answer in answers],
            [bool(answer["text"]) and answer["text"] in said for answer in answers],
            _only_within(answers, said),
        )
        call.choice = next((proof.index(True) for proof in proofs if any(proof)), 0)
        _take(call)


def others(call: LlmCall, decode: Decode | None) -> list[LlmCall]:
    """Return a call once for each of its choices that was not gone on from, as if that one had been.

    They are samples of the same policy at the same state, with ids of their own. One of which nothing is recorded, or
    whose ids cannot be or are not its text, is left out.
    """
    found: list[LlmCall] = []
    for choice, answer in enumerate(call.output or ()):
        if choice == call.choice or not (has_content(answer) or answer["text"] is not None):
            continue
        other = replace(call, choice=choice, incomplete=set(call.incomplete))
        _take(other)
        drop_impossible([other])
        if not other.incomplete and not mismatched([other], decode):
            found.append(other)
    return found


def _take(call: LlmCall) -> None:
    """Make the ids and log-probabilities of a call's choice those of the call, in place, where each choice has own."""
    if call.sampled or call.choice:
        known = call.choice < len(call.sampled)
        call.response_token_ids, call.behavior_logprobs = call.sampled[call.choice] if known else (None, None)


def _is_for(tool: ToolCall, request: dict[str, Any]) -> bool:
    """Tell whether an execution is of this request: by its id, or without one by name and arguments."""
    if tool.tool_call_id and request["id"]:
        return bool(tool.tool_call_id == request["id"])
    is_named = any(is_same_name(name, request["name"]) for name in (tool.name, tool.asked_as) if name)
    return is_named and (tool.arguments is None or tool.arguments == request["arguments"])


SHORTEST = 12
"""Characters below which words are within others by chance."""


def _only_within(answers: Sequence[Message], said: Iterable[str]) -> list[bool]:
    """Tell of each choice whether it alone was passed on within longer words."""
    texts = [answer["text"] or "" for answer in answers]
    within = [len(text) >= SHORTEST and any(text in other for other in said) for text in texts]
    return within if sum(within) == 1 else []
