"""Gives requests the text that an earlier answer had beside its tool calls, where its recorder leaves that out."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import Any

import orjson

from etl.dialects.spans import LlmCall, Message
from etl.schema import RejectReason

FORGETFUL = {"genai", "traceloop"}
"""Dialects that leave out the text of an earlier answer that also asked for tools."""

Said = dict[Hashable, list[tuple[LlmCall, str | None]]]
"""By (project, trace, what an answer is known by): the answers that asked for these tools, and their text."""


def complete_histories(calls: Iterable[LlmCall]) -> None:
    """Put the text where it is missing, in place; where it cannot be known which it was, the request is incomplete.

    A writer that records such texts, and has none here, shows what the model was asked: where the model said something
    before, the agent dropped it, or the recorder did.
    """
    calls = list(calls)
    said = _said(calls)
    for call in calls if said else ():
        for key, places in _repeated(call, said).items():
            texts = _texts(said[key], call, len(places))
            is_forgetful = call.dialect in FORGETFUL
            for place, text in zip(places, texts or [None] * len(places), strict=True):
                message = call.input[place] if call.input else {}
                if message.get("text"):
                    continue
                if text is not None and is_forgetful and call.input is not None:
                    call.input[place] = {**message, "text": text}
                elif text is not None or (texts is None and is_forgetful):
                    call.incomplete.add(RejectReason.CONTRADICTORY)


def _said(calls: list[LlmCall]) -> Said:
    """Return the answers that asked for tools, by all they are known by, of keys under which one of them has a text."""
    found: Said = defaultdict(list)
    for call in sorted(calls, key=lambda call: call.span.start_ns):
        for message in call.output or ():
            for key in _known_by(message) if message["tool_calls"] else ():
                found[call.span.project, call.span.trace_id, key].append((call, message["text"] or None))
    return {key: answers for key, answers in found.items() if any(text for _, text in answers)}


def _repeated(call: LlmCall, said: Said) -> dict[Hashable, list[int]]:
    """Return where a request repeats such answers."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for place, message in enumerate(call.input or ()):
        keys = _sought_by(message) if message.get("tool_calls") else ()
        known = ((call.span.project, call.span.trace_id, key) for key in keys)
        key = next((key for key in known if key in said), None)
        if key is not None:
            found[key].append(place)
    return found


def _texts(answers: list[tuple[LlmCall, str | None]], call: LlmCall, num_places: int) -> list[str | None] | None:
    """Return what the repeated answers said, in order; None where others asked so too and said something else."""
    earlier = [text for one, text in answers if one is not call and one.span.start_ns <= call.span.start_ns]
    if len(earlier) == num_places:
        return earlier
    return (earlier[:1] or [None]) * num_places if len(set(earlier)) <= 1 else None


def _known_by(message: Message) -> list[Hashable]:
    """Return what an answer's calls of tools are known by: ids and what they ask for, or that they have no ids."""
    identifiers, asked = _asked(message)
    return [identifiers, ("any", asked)] if all(identifiers) else [("nameless", asked), ("any", asked)]


def _sought_by(message: Message) -> list[Hashable]:
    """Return what the answer is known by that a history repeats: where both have ids, by these alone."""
    identifiers, asked = _asked(message)
    return [identifiers, ("nameless", asked)] if all(identifiers) else [("any", asked)]


def _asked(message: Message) -> tuple[tuple[Any, ...], bytes]:
    requests = message["tool_calls"]
    asked = [[request["name"], request["arguments"]] for request in requests]
    identifiers = tuple(request["id"] for request in requests)
    return identifiers, orjson.dumps(asked, option=orjson.OPT_SORT_KEYS, default=str)
