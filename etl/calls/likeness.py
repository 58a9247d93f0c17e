"""What makes two recordings of a message, an answer or a whole call alike. Knows nothing of spans' places."""

from collections.abc import Hashable
from typing import Any

import orjson

from etl.dialects.conventions import gateway
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.media import digests
from etl.dialects.spans import LlmCall, Message

ITEM_ID = "fc_"
"""How ids of the Responses API's items begin, which stand for calls in some recordings."""


def is_bare(call: LlmCall) -> bool:
    """Tell whether a span names a call without its content, as a client's own spans do (Anthropic's)."""
    return call.input is None and call.output is None


def is_gateway(call: LlmCall) -> bool:
    """Tell whether the gateway recorded it, which knows tokens exactly."""
    return call.dialect == gateway.DIALECT


def exchange_digest(call: LlmCall) -> bytes:
    """Return what was asked and answered, or that it failed; no ids, nor words beside tool calls: CrewAI drops them."""
    asked = [message_signature(message)[:3] for message in call.input or ()]  # one layer may hide what media hold
    answered = [[role, None if calls else text, calls] for role, text, calls in _answer_signature(call)]
    return orjson.dumps([asked, answered, call.error is not None], option=orjson.OPT_SORT_KEYS)


def message_signature(message: Message) -> list[Any]:
    """Return what makes two recordings of one message alike: role, text, tool calls by name and arguments, media."""
    media = digests(message)
    return [
        message["role"],
        message.get("text") or None,
        [[call["name"], call["arguments"]] for call in message.get("tool_calls") or ()],
        *([media] if media else []),
    ]


def message_key(message: Message) -> Hashable:
    """Return the same as `message_signature` in a form that is quick to compare."""
    calls = message.get("tool_calls")
    requests = orjson.dumps([[call["name"], call["arguments"]] for call in calls], default=str) if calls else None
    if message.get("parts"):
        return message["role"], message.get("text") or None, requests, tuple(digests(message))
    return message["role"], message.get("text") or None, requests


def _answer_signature(call: LlmCall) -> list[Any]:
    """Return what makes two recordings of one answer alike; a framework may write an object that it parsed anew."""
    signatures = [message_signature(message) for message in call.output or ()]
    for signature in signatures:
        if signature[1] and signature[1].startswith("{"):
            signature[1] = decode(signature[1])
    return signatures


def answers_agree(one: LlmCall, other: LlmCall, *, strict: bool) -> bool:
    """Tell whether two recordings may be of one answer; strictly, whether both have it and it is the same."""
    if one.output is None or other.output is None:
        return not strict
    if strict or (one.output and other.output):
        left, right = _answer_signature(one), _answer_signature(other)
        return left == right or (not strict and ("" in (said(one), said(other)) or said(one) == said(other)))
    return True


def said(call: LlmCall) -> str:
    """Return the text of the first choice: layers may differ in how they record tool calls, never in what was said."""
    return (call.output[0].get("text") or "") if call.output else ""


def ids_agree(one: LlmCall, other: LlmCall) -> bool:
    """Tell whether the ids of the tool calls asked for are the same, where both recordings have them."""
    left, right = tool_call_ids(one), tool_call_ids(other)
    return not left or not right or left == right


def tool_call_ids(call: LlmCall) -> list[str]:
    """Return the ids of the tool calls that were asked for, but for items' ids."""
    requests = [request for message in call.output or () for request in message["tool_calls"]]
    return [request["id"] for request in requests if request["id"] and not request["id"].startswith(ITEM_ID)]
