"""Producers that exist nowhere: whoever writes spans next is read by what the values are, or rejected, or narrated."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import START_NS, identifier, logs_frame, span, spans_frame
from tests.variants import exchange, said

Json = dict[str, Any]
Made = tuple[list[Json], list[Json]]
"""Spans and log records."""

SYSTEM = {"role": "system", "content": "You answer questions about the weather."}


def asks(text: str | None, *calls: tuple[str, str, Json]) -> Json:
    """Return an answer that calls tools, in the words of chat completions."""
    requests = [
        {"id": i, "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        for i, name, given in calls
    ]
    return {"role": "assistant", "content": text, "tool_calls": requests}


def user(text: str) -> Json:
    """Return what somebody said."""
    return {"role": "user", "content": text}


def told(text: str) -> Json:
    """Return an answer in words."""
    return {"role": "assistant", "content": text}


def result(identifier_: str, text: str) -> Json:
    """Return what a tool gave."""
    return {"role": "tool", "tool_call_id": identifier_, "content": text}


CONVERSATIONS: dict[str, list[Json]] = {
    "a chat": [SYSTEM, user("Hello?"), told("Good morning."), user("Is it cold?"), told("A little.")],
    "a tool": [
        SYSTEM,
        user("Weather in Oslo?"),
        asks(None, ("call_1", "weather", {"city": "Oslo"})),
        result("call_1", "4 °C, snow"),
        told("It snows."),
    ],
    "two at once": [
        SYSTEM,
        user("Oslo or Lima?"),
        asks("Let me look.", ("call_1", "weather", {"city": "Oslo"}), ("call_2", "weather", {"city": "Lima"})),
        result("call_1", "4"),
        result("call_2", '{"celsius": 19}'),
        told("Lima."),
    ],
}


def completion(answer: Json, number: int) -> Json:
    """Return a chat completion with an answer."""
    reason = "tool_calls" if answer.get("tool_calls") else "stop"
    return {
        "id": f"chatcmpl-{number}",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": answer, "finish_reason": reason}],
        "usage": {"prompt_tokens": 20 + number, "completion_tokens": 9},
    }


def _parts(message: Json) -> list[Json]:
    """Return a message's content as the parts of a JavaScript library."""
    if message["role"] == "tool":
        return [{"type": "tool-result", "toolCallId": message["tool_call_id"], "output": message["content"]}]
    calls = [
        {
            "type": "tool-call",
            "toolCallId": call["id"],
            "toolName": call["function"]["name"],
            "input": json.loads(call["function"]["arguments"]),
        }
        for call in message.get("tool_calls", ())
    ]
    return [*([{"type": "text", "text": message["content"]}] if message["content"] else []), *calls]


def javascript(request: list[Json], answer: Json, number: int) -> Made:
    """Record in camel case: parts, and the answer's text and calls in attributes of their own."""
    calls = [part for part in _parts(answer) if part["type"] == "tool-call"]
    attributes = {
        "aiRun.kind": "generation",
        "aiRun.modelId": "gpt-4o-mini",
        "aiRun.promptMessages": json.dumps([{"role": m["role"], "content": _parts(m)} for m in request]),
        "aiRun.finishReason": "tool-calls" if calls else "stop",
        "aiRun.usage.inputTokens": 20,
    }
    if answer["content"]:
        attributes["aiRun.responseText"] = answer["content"]
    if calls:
        attributes["aiRun.responseToolCalls"] = json.dumps(calls)
    return [span(f"c{number}", scope="ai-run", attributes=attributes, start=number)], []


def java(request: list[Json], answer: Json, number: int) -> Made:
    """Record types of messages in capitals, arguments as text, results of tools in a list."""

    def written(message: Json) -> Json:
        calls = [{"id": call["id"], "type": "function", **call["function"]} for call in message.get("tool_calls", ())]
        made: Json = {"messageType": message["role"].upper(), "text": message["content"], "metadata": {}}
        if message["role"] == "tool":
            answered = {"id": message["tool_call_id"], "name": "weather", "responseData": message["content"]}
            return {"messageType": "TOOL", "responses": [answered], "metadata": {}}
        return {**made, "toolCalls": calls} if message["role"] == "assistant" else made

    attributes = {
        "com.acme.chat.request.messages": json.dumps([written(message) for message in request]),
        "com.acme.chat.request.options.model": "gpt-4o-mini",
        "com.acme.chat.response.message": json.dumps(written(answer)),
        "com.acme.chat.response.id": f"chatcmpl-{number}",
    }
    return [span(f"c{number}", scope="com.acme.chat", attributes=attributes, start=number)], []


def nested(request: list[Json], answer: Json, number: int) -> Made:
    """Record objects as attribute values, nothing encoded."""
    call = {"params": {"model": "gpt-4o-mini", "messages": request, "temperature": 0.5}}
    attributes = {"trace.call": {**call, "reply": completion(answer, number)}, "trace.span_type": "inference"}
    return [span(f"c{number}", scope="trace-kit", attributes=attributes, start=number)], []


def decorated(request: list[Json], answer: Json, number: int) -> Made:
    """Record a function's arguments and its return value, as a decorator does."""
    attributes = {
        "fn.name": "complete",
        "fn.input": json.dumps({"args": [], "kwargs": {"model": "gpt-4o-mini", "messages": request}}),
        "fn.output": json.dumps({"result": completion(answer, number)}),
    }
    return [span(f"c{number}", scope="observe", attributes=attributes, start=number)], []


def numbered(request: list[Json], answer: Json, number: int) -> Made:
    """Record each field in an attribute, with numbers in brackets."""
    attributes: Json = {"chat.model": "gpt-4o-mini", "chat.type": "llm"}
    for side, messages in (("request", request), ("reply", [answer])):
        for position, message in enumerate(messages):
            head = f"chat.{side}.messages[{position}]"
            attributes[f"{head}.role"] = message["role"]
            if message["content"] is not None:
                attributes[f"{head}.content"] = message["content"]
            if "tool_call_id" in message:
                attributes[f"{head}.tool_call_id"] = message["tool_call_id"]
            for n, call in enumerate(message.get("tool_calls", ())):
                attributes[f"{head}.tool_calls[{n}].id"] = call["id"]
                attributes[f"{head}.tool_calls[{n}].name"] = call["function"]["name"]
                attributes[f"{head}.tool_calls[{n}].arguments"] = call["function"]["arguments"]
    return [span(f"c{number}", scope="chat-kit", attributes=attributes, start=number)], []


def _record(number: int, name: str, body: Json, position: int) -> Json:
    return {
        "project": "default",
        "trace_id": identifier("t", 32),
        "span_id": identifier(f"c{number}", 16),
        "event_name": name,
        "time_ns": START_NS + position,
        "observed_ns": START_NS + position,
        "body": json.dumps(body),
        "attributes": "{}",
        "received_seq": 1,
        "record_index": position,
    }


def logged(request: list[Json], answer: Json, number: int) -> Made:
    """Write a log record a message, and one for the answer."""
    attributes = {"kit.kind": "llm", "kit.model": "gpt-4o-mini"}
    records = [_record(number, f"kit.{m['role']}.message", m, position) for position, m in enumerate(request)]
    reason = "tool_calls" if answer.get("tool_calls") else "stop"
    choice = {"index": 0, "finish_reason": reason, "message": answer}
    records.append(_record(number, "kit.choice", choice, len(records)))
    return [span(f"c{number}", scope="kit", attributes=attributes, start=number)], records


def logged_whole(request: list[Json], answer: Json, number: int) -> Made:
    """Write one log record with the bodies of request and response."""
    attributes = {"kit.kind": "llm", "kit.model": "gpt-4o-mini"}
    body = {"request": {"model": "gpt-4o-mini", "messages": request}, "response": completion(answer, number)}
    made = span(f"c{number}", scope="kit", attributes=attributes, start=number)
    return [made], [_record(number, "kit.exchange", body, 0)]


def evented(request: list[Json], answer: Json, number: int) -> Made:
    """Add an event for each side of the exchange, its JSON in one field."""
    events = [
        {"name": "prompt", "time_ns": START_NS, "attributes": {"payload": json.dumps(request)}},
        {"name": "completion", "time_ns": START_NS, "attributes": {"payload": json.dumps(completion(answer, number))}},
    ]
    attributes = {"op": "llm.call", "engine.model": "gpt-4o-mini"}
    return [span(f"c{number}", scope="engine", attributes=attributes, events=events, start=number)], []


def _called(message: Json) -> list[tuple[str, str, str]]:
    return [(call["id"], *call["function"].values()) for call in message.get("tool_calls", ())]


def tagged(request: list[Json], answer: Json, number: int) -> Made:
    """Record a message under the name of its kind, as enumerations of Rust and protocol buffers are written."""

    def written(message: Json) -> Json:
        calls = [{"id": i, "functionName": name, "argumentsJson": given} for i, name, given in _called(message)]
        fields = {"content": message["content"], **({"toolCalls": calls} if calls else {})}
        if message["role"] == "tool":
            fields["toolCallId"] = message["tool_call_id"]
        return {f"{message['role']}Message": fields}

    attributes = {
        "rpc.request.json": json.dumps({"model": "gpt-4o-mini", "messages": [written(m) for m in request]}),
        "rpc.response.json": json.dumps({"message": written(answer), "usage": {"outputTokens": 9}}),
    }
    return [span(f"c{number}", scope="rpc-kit", attributes=attributes, start=number)], []


def kinds(request: list[Json], answer: Json, number: int) -> Made:
    """Record nested values whose blocks say what they are under `kind`, each by a speaker."""

    def written(message: Json) -> Json:
        blocks = [{"kind": "text", "text": message["content"]}] if message["content"] else []
        blocks += [
            {"kind": "tool_use", "id": i, "name": name, "input": json.loads(given)}
            for i, name, given in _called(message)
        ]
        if message["role"] == "tool":
            blocks = [{"kind": "tool_result", "tool_use_id": message["tool_call_id"], "content": message["content"]}]
        return {"speaker": "user" if message["role"] == "tool" else message["role"], "blocks": blocks}

    turn = {"asked": [written(m) for m in request], "answered": [written(answer)], "meter": {"output_tokens": 9}}
    attributes = {"turn": {"model": "gpt-4o-mini", **turn}}
    return [span(f"c{number}", scope="turns", attributes=attributes, start=number)], []


def apart(request: list[Json], answer: Json, number: int) -> Made:
    """Record the instructions in an attribute of their own, and blocks as Anthropic's API has them."""

    def written(message: Json) -> Json:
        said = [{"type": "text", "text": message["content"]}] if message["content"] else []
        if message["role"] == "tool":
            block = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": said}
            return {"role": "user", "content": [block]}
        calls = [
            {"type": "tool_use", "id": i, "name": name, "input": json.loads(given)}
            for i, name, given in _called(message)
        ]
        return {"role": message["role"], "content": [*said, *calls]}

    attributes = {
        "dialog.model": "gpt-4o-mini",
        "dialog.system": SYSTEM["content"],
        "dialog.engine.system": "Azure OpenAI",
        "dialog.history": json.dumps([written(m) for m in request if m["role"] != "system"]),
        "dialog.reply_blocks": json.dumps(written(answer)["content"]),
    }
    return [span(f"c{number}", scope="dialog", attributes=attributes, start=number)], []


def spoken(request: list[Json], answer: Json, number: int) -> Made:
    """Add an event for each message, whose fields are attributes."""

    def written(name: str, message: Json) -> Json:
        fields: Json = {"author": message["role"], "body": message["content"] or ""}
        if calls := _called(message):
            fields["tool_calls"] = json.dumps([{"id": i, "function": f, "args": json.loads(g)} for i, f, g in calls])
        if message["role"] == "tool":
            fields["tool_call_id"] = message["tool_call_id"]
        return {"name": name, "time_ns": START_NS, "attributes": fields}

    events = [*(written("talk.input", m) for m in request), written("talk.output", answer)]
    attributes = {"talk.model": "gpt-4o-mini", "talk.out_tokens": 9}
    return [span(f"c{number}", scope="talk", attributes=attributes, events=events, start=number)], []


def new_ones(request: list[Json], answer: Json, number: int) -> Made:
    """Record of each request what was not in the one before."""
    last = max((place for place, m in enumerate(request) if m["role"] == "assistant"), default=-1)
    attributes = {
        "talk.model": "gpt-4o-mini",
        "talk.messages": json.dumps(request[last + 1 :]),
        "talk.answer": json.dumps(answer),
    }
    return [span(f"c{number}", scope="talk", attributes=attributes, start=number)], []


def stepped(request: list[Json], answer: Json, number: int) -> Made:
    """Make a span a message, below one for the call."""
    head = span(f"c{number}", scope="steps", attributes={"kind": "llm", "model": "gpt-4o-mini"}, start=number)
    below = [
        span(
            f"c{number}-{position}",
            parent=f"c{number}",
            scope="steps",
            start=number,
            end=number + 0.5,
            attributes={"kind": "message", "message.role": m["role"], "message.content": m["content"] or ""},
        )
        for position, m in enumerate([*request, answer])
    ]
    return [head, *below], []


PRODUCERS: tuple[Callable[[list[Json], Json, int], Made], ...] = (
    javascript,
    java,
    nested,
    decorated,
    numbered,
    logged,
    logged_whole,
    evented,
    tagged,
    kinds,
    apart,
    spoken,
)


def exchanges(conversation: list[Json]) -> list[tuple[list[Json], Json]]:
    """Return what was asked and answered, call by call."""
    return [
        (conversation[:position], message)
        for position, message in enumerate(conversation)
        if message["role"] == "assistant"
    ]


def canonical(message: Json) -> Json:
    """Return a message of the wire in the published shape."""
    calls = [
        {"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])}
        for call in message.get("tool_calls", ())
    ]
    return {"role": message["role"], "text": message["content"], "tool_calls": calls}


def recorded(producer: Callable[[list[Json], Json, int], Made], conversation: list[Json]) -> Any:
    """Return what the ETL makes of a conversation that a producer recorded."""
    spans: list[Json] = []
    logs: list[Json] = []
    for number, (request, answer) in enumerate(exchanges(conversation)):
        made = producer(request, answer, number * 3)
        spans, logs = [*spans, *made[0]], [*logs, *made[1]]
    return transform(spans_frame(spans), logs_frame(logs), EtlConfig(complete_after=0))


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("producer", PRODUCERS)
def test_every_call_comes_out_as_it_was(producer: Callable[..., Made], name: str) -> None:
    """State and action of every call, under names nobody described."""
    conversation = CONVERSATIONS[name]
    wire = [
        (said([canonical(m) for m in request]), said([canonical(answer)]))
        for request, answer in exchanges(conversation)
    ]

    dataset = recorded(producer, conversation)

    assert [exchange(row) for row in dataset.tables["transitions"].sort("step").iter_rows(named=True)] == wire
    assert dataset.tables["llm_calls"]["model_requested"].unique().to_list() == ["gpt-4o-mini"]


@pytest.mark.parametrize("name", ["a tool", "two at once"])
def test_requests_of_which_only_the_end_is_recorded_are_no_transitions(name: str) -> None:
    """Results of tools alone are no request: what went before was sent."""
    conversation = CONVERSATIONS[name]
    dataset = recorded(new_ones, conversation)

    first = exchanges(conversation)[0]
    rows = [exchange(row) for row in dataset.tables["transitions"].iter_rows(named=True)]
    assert rows == [(said([canonical(m) for m in first[0]]), said([canonical(first[1])]))]
    assert dataset.tables["rejected"]["reason"].to_list() == ["history_not_at_hand"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"kit.request": "ChatRequest { messages = [UserMessage { text = Hello? }] }", "kit.output_tokens": 9},
        {"kit.pairs": json.dumps([["user", "Hello?"]]), "kit.said": "Good morning.", "kit.out_tokens": 9},
    ],
)
def test_what_nobody_can_read_is_counted(attributes: Json) -> None:
    """Counts of tokens are a model's work, whatever stands beside them."""
    dataset = transform(spans_frame([span("c", scope="kit", attributes=attributes)]), logs_frame(), EtlConfig())

    assert dataset.tables["llm_calls"].height == 0
    assert dataset.counts["unread_scopes"] == {"kit": 1}


def test_what_is_spread_over_spans_is_not_silent() -> None:
    """A message in a span of its own is nobody's call; each call is in the tables, and says why it is no transition."""
    dataset = recorded(stepped, CONVERSATIONS["a chat"])

    assert dataset.tables["transitions"].height == 0
    assert dataset.tables["rejected"].height or dataset.counts["unread_scopes"]
