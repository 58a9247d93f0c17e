"""OpenAI: stored completions and responses, as its API lists them, and fine-tuning examples.

A stored completion becomes the span that the tracker would have recorded: the request and the answer as they were. Of a
fine-tuning example every assistant turn becomes one, unless its weight is 0.
https://platform.openai.com/docs/api-reference/chat/list, https://platform.openai.com/docs/guides/supervised-fine-tuning
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from otel_exporter.schema import AGENT_NAME, REQUEST_BODY, RESPONSE_BODY
from receiver.history.records import (
    Record,
    Refused,
    Vendor,
    as_text,
    decoded,
    first,
    listed,
    make_span,
    mapping,
    ns_of,
    required,
)
from receiver.history.rows import Row

REQUEST = (
    "messages", "input", "instructions", "model", "tools", "tool_choice", "parallel_tool_calls", "response_format",
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "max_output_tokens", "seed", "stop", "n",
    "frequency_penalty", "presence_penalty", "functions",
)  # fmt: skip
"""What of a stored completion belongs to its request."""

ANSWER = ("id", "object", "created", "created_at", "model", "choices", "output", "status", "usage", "service_tier")
"""What of it belongs to its answer."""

OURS = ("spanloop.", "gen_ai.conversation.", "session.id", "user.id")
"""Beginnings of metadata that say here what they say as attributes of any span."""

NO_REQUEST = (
    "a stored completion without its messages: put what GET /chat/completions/ID/messages lists under `messages`"
)
TURN_NS = 1_000_000
"""Between the turns of an example, which have an order and no times."""


def claims(row: Row) -> bool:
    """Tell whether a row is a stored completion or response, or an example to fine-tune on."""
    return _is_answer(row) or isinstance(decoded(row.get("messages")), list) or "preferred_output" in row


def _is_answer(row: Row) -> bool:
    is_response = isinstance(decoded(row.get("output")), list) and row.get("object") == "response"
    return is_response or isinstance(decoded(row.get("choices")), list)


def read(row: Row, written_ns: int) -> Iterator[Record]:
    """Read a stored completion or response, or an example's turns."""
    row = {key: decoded(value) for key, value in row.items() if value is not None}
    if _is_answer(row):
        yield from _stored(row)
    elif "preferred_output" in row:
        raise Refused("a preference pair: neither of its answers was given by an agent")
    else:
        yield from _example(row, written_ns)


def _stored(row: Row) -> Iterator[Record]:
    request = {**{key: row[key] for key in REQUEST if key in row}, **mapping(row.get("request"))}
    if not request.get("messages") and not request.get("input"):
        raise Refused(NO_REQUEST)
    if isinstance(request.get("messages"), list):
        request["messages"] = [_sent(message) for message in request["messages"]]
    identifier = required(row, "id")
    created_ns = ns_of(first(row, "created", "created_at"))
    metadata = mapping(row.get("metadata"))
    agent = metadata.pop(AGENT_NAME, None)
    around = f"{identifier} agent" if agent else None
    told = {key if key.startswith(OURS) else f"openai.metadata.{key}": value for key, value in metadata.items()}
    if around:  # an agent's name is told by the span around its calls
        yield make_span(
            trace=identifier,
            span=around,
            parent=None,
            name=agent,
            start_ns=created_ns,
            end_ns=created_ns,
            attributes={AGENT_NAME: agent},
        )
    yield make_span(
        trace=identifier,
        span=identifier,
        parent=around,
        name=f"chat {request.get('model', '')}".strip(),
        start_ns=created_ns,
        end_ns=created_ns,
        attributes={
            "gen_ai.request.model": request.get("model"),
            REQUEST_BODY: as_text(request),
            RESPONSE_BODY: as_text({key: row[key] for key in ANSWER if key in row}),
            **told,
        },
    )


def _sent(message: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a message as it was sent: the listing adds an id, and fields that say nothing."""
    if not isinstance(message, dict):
        return message
    return {key: value for key, value in message.items() if value is not None and key not in {"id", "weight"}}


def _example(row: Row, written_ns: int) -> Iterator[Record]:
    messages = [mapping(message) for message in listed(row["messages"])]
    turns = [place for place, message in enumerate(messages) if _is_trained(message)]
    if not turns:
        raise Refused("an example without an assistant's turn that is trained on")
    asked = {key: row[key] for key in REQUEST if key in row}
    identifier = hashlib.blake2b(orjson.dumps(row, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
    for place in turns:
        request = {**asked, "messages": [_sent(message) for message in messages[:place]]}
        if not request["messages"]:
            yield Refused("an assistant's turn with nothing before it")
            continue
        reason = "tool_calls" if messages[place].get("tool_calls") else "stop"
        choice = {"index": 0, "message": _sent(messages[place]), "finish_reason": reason}
        start_ns = written_ns + place * TURN_NS
        yield make_span(
            trace=identifier,
            span=hashlib.blake2b(f"{identifier} {place}".encode(), digest_size=8).hexdigest(),
            parent=None,
            name="chat",
            start_ns=start_ns,
            end_ns=start_ns,
            attributes={
                REQUEST_BODY: as_text(request),
                RESPONSE_BODY: as_text({"object": "chat.completion", "choices": [choice]}),
            },
        )


def _is_trained(message: dict[str, Any]) -> bool:
    return message.get("role") == "assistant" and message.get("weight", 1) not in (0, 0.0, "0", False)


VENDOR = Vendor(
    "openai", "stored completions and responses with their messages, and fine-tuning examples", claims, read
)
