"""Makes one conversation's recordings agree where a producer wrote a provider's item id in place of the call's id.

Traceloop records the id of the Responses API's item (`fc_…`) on the answer, while the tool's result and, in most calls,
the history refer to the call (`call_…`): matched by the order of the results that follow a call in a request, else by
name and arguments against the calls that follow. Agno has the items' ids on the results in its history as well.
"""

from collections import defaultdict
from itertools import takewhile
from typing import Any

import orjson

from etl.calls.likeness import ITEM_ID
from etl.dialects.spans import LlmCall, Message


def align_item_ids(calls: list[LlmCall]) -> None:
    """Replace item ids by call ids, in the calls given, where another message of the same trace tells the call's id."""
    by_trace: dict[tuple[str, str], list[LlmCall]] = defaultdict(list)
    for call in calls:
        by_trace[call.span.project, call.span.trace_id].append(call)
    for group in by_trace.values():
        requests = [request for call in group for request in _requests(call)]
        if not any(_is_item(request) for request in requests) and not any(map(_has_item_results, group)):
            continue
        known: dict[bytes, list[str]] = defaultdict(list)
        for call in group:
            for request in _requests(call):
                if not _is_item(request) and request["id"] and request["id"] not in known[_key(request)]:
                    known[_key(request)].append(request["id"])
        answered = {item: name for call in group for item, name in _answered(call.input or []).items()}
        renamed = {
            str(request["id"]): str(aligned["id"])
            for request in requests
            if (aligned := _with_id(request, known, answered)) is not request
        }
        for call in group:
            call.input = _with_results(_aligned(call.input, known, answered), renamed)
            call.output = _aligned(call.output, known, answered)


def _answered(messages: list[Message]) -> dict[str, str]:
    """Return the call's id for each item's whose results come right behind it, in order."""
    found: dict[str, str] = {}
    for place, message in enumerate(messages):
        asked = [request["id"] for request in message.get("tool_calls") or ()]
        results = takewhile(lambda one: one["role"] == "tool", messages[place + 1 :]) if asked else ()
        identifiers = [one.get("tool_call_id") or "" for one in results]
        items = [one for one in asked if _is_item_id(one) and one not in identifiers]
        named = [one for one in identifiers if one and one not in asked and not _is_item_id(one)]
        found.update(zip(items, named, strict=False))
    return found


def _aligned(
    messages: list[Message] | None, known: dict[bytes, list[str]], answered: dict[str, str]
) -> list[Message] | None:
    if messages is None:
        return None
    return [
        {**message, "tool_calls": [_with_id(request, known, answered) for request in message["tool_calls"]]}
        if message.get("tool_calls")
        else message
        for message in messages
    ]


def _with_results(messages: list[Message] | None, renamed: dict[str, str]) -> list[Message] | None:
    """Return a request's messages with the call's id on each result: the item's that is known, else by their order."""
    found: list[Message] = []
    waiting: list[str | None] = []
    for message in messages or ():
        identifier = str(message.get("tool_call_id") or "")
        if message.get("tool_calls"):
            waiting = [request["id"] for request in message["tool_calls"]]
        elif message["role"] == "tool" and waiting:
            asked = waiting.pop(0)
            if _is_item_id(identifier):
                message = {**message, "tool_call_id": renamed.get(identifier) or asked or identifier}
        found.append(message)
    return found if messages is not None else None


def _with_id(request: dict[str, Any], known: dict[bytes, list[str]], answered: dict[str, str]) -> dict[str, Any]:
    if request["id"] in answered:
        return {**request, "id": answered[request["id"]]}
    found = known.get(_key(request), []) if _is_item(request) else []
    return {**request, "id": found[0]} if len(found) == 1 else request


def _requests(call: LlmCall) -> list[dict[str, Any]]:
    return [
        request
        for message in [*(call.input or ()), *(call.output or ())]
        for request in message.get("tool_calls") or ()
    ]


def _has_item_results(call: LlmCall) -> bool:
    return any(_is_item_id(message.get("tool_call_id")) for message in call.input or ())


def _is_item(request: dict[str, Any]) -> bool:
    return _is_item_id(request["id"])


def _is_item_id(identifier: str | None) -> bool:
    return str(identifier or "").startswith(ITEM_ID)


def _key(request: dict[str, Any]) -> bytes:
    return orjson.dumps([request["name"], request["arguments"]], option=orjson.OPT_SORT_KEYS, default=str)
