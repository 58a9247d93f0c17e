"""Makes one conversation's recordings agree where a dialect wrote a provider's item id in place of the call's id.

Traceloop records the id of the Responses API's item (`fc_…`) on the answer, while the tool's result and, in most calls,
the history refer to the call (`call_…`): matched by name and arguments against the calls that follow.
"""

from collections import defaultdict
from typing import Any

import orjson

from etl.dialects.spans import LlmCall, Message

ITEM_ID = "fc_"


def align_item_ids(calls: list[LlmCall]) -> None:
    """Replace item ids by call ids, in the calls given, where another message of the same trace tells the call's id."""
    by_trace: dict[tuple[str, str], list[LlmCall]] = defaultdict(list)
    for call in calls:
        by_trace[call.span.project, call.span.trace_id].append(call)
    for group in by_trace.values():
        requests = [request for call in group for request in _requests(call)]
        if not any(_is_item(request) for request in requests):
            continue
        known: dict[bytes, list[str]] = defaultdict(list)
        for call in group:
            for request in _requests(call):
                if not _is_item(request) and request["id"] and request["id"] not in known[_key(request)]:
                    known[_key(request)].append(request["id"])
        for call in group:
            call.input = _aligned(call.input, known)
            call.output = _aligned(call.output, known)


def _aligned(messages: list[Message] | None, known: dict[bytes, list[str]]) -> list[Message] | None:
    if messages is None:
        return None
    return [
        {**message, "tool_calls": [_with_id(request, known) for request in message["tool_calls"]]}
        if message.get("tool_calls")
        else message
        for message in messages
    ]


def _with_id(request: dict[str, Any], known: dict[bytes, list[str]]) -> dict[str, Any]:
    found = known.get(_key(request), []) if _is_item(request) else []
    return {**request, "id": found[0]} if len(found) == 1 else request


def _requests(call: LlmCall) -> list[dict[str, Any]]:
    return [
        request
        for message in [*(call.input or ()), *(call.output or ())]
        for request in message.get("tool_calls") or ()
    ]


def _is_item(request: dict[str, Any]) -> bool:
    return str(request["id"] or "").startswith(ITEM_ID)


def _key(request: dict[str, Any]) -> bytes:
    return orjson.dumps([request["name"], request["arguments"]], option=orjson.OPT_SORT_KEYS, default=str)
