"""CrewAI 1.15 under openinference-instrumentation-crewai 1.1 with `use_event_listener=True`."""

from typing import Any

from etl.exports.export import decoded
from tests.conversation import ANSWER, ARGUMENTS, QUESTION, REQUEST, TOOL, dump, openai_tool, run
from tests.spans import Span, span

LISTENER = "openinference.instrumentation.crewai._event_listener"
CLIENT = "openinference.instrumentation.openai"
ASKED = [{"role": "user", "content": QUESTION}]


def event(name: str, kind: str, **rest: Any) -> Span:
    """Return a span that the listener made of a pair of CrewAI's events."""
    attributes = {"openinference.span.kind": kind, **rest.pop("attributes", {})}
    return span(name, attributes=attributes, scope=LISTENER, **rest)


def cut_off(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a definition as CrewAI hands it to its listeners: as Python's repr five levels deep."""
    parameters = tool["function"]["parameters"]
    properties = {name: repr(value) for name, value in parameters["properties"].items()}
    required = [repr(name) for name in parameters["required"]]
    cut = {**parameters, "properties": properties, "required": required}
    return {"type": "function", "function": {**tool["function"], "parameters": cut}}


def request(name: str, arguments: str) -> dict[str, Any]:
    """Return a tool call on the wire."""
    return {"id": REQUEST["id"], "type": "function", "function": {"name": name, "arguments": arguments}}


def crew() -> list[Span]:
    """Return a crew's agent that calls a tool and answers."""
    tools = dump([cut_off(openai_tool())])
    cut_request = request(repr(REQUEST["name"]), repr(dump(ARGUMENTS)))
    history = [
        *ASKED,
        {"role": "assistant", "content": None, "tool_calls": [cut_request]},
        {"role": "tool", "tool_call_id": REQUEST["id"], "name": REQUEST["name"], "content": "84"},
    ]
    first = {
        "llm.model_name": "gpt-4o-mini",
        "llm.tools": tools,
        "input.value": dump(ASKED),
        "output.value": dump([request(REQUEST["name"], dump(ARGUMENTS))]),
    }
    second = {
        "llm.model_name": "gpt-4o-mini",
        "llm.tools": tools,
        "input.value": dump(history),
        "output.value": ANSWER,
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": ANSWER,
    }
    agent = {"graph.node.id": "Mathematician"}
    return [
        span("request", end=20),
        event("Mathematician.task.execute", "AGENT", parent="request", attributes=agent, end=19),
        event("one.llm_call", "LLM", parent="Mathematician.task.execute", attributes=first, start=1, end=5),
        event("two.llm_call", "LLM", parent="Mathematician.task.execute", attributes=second, start=11, end=15),
    ]


def client(name: str, start: int, response: dict[str, Any], *messages: dict[str, Any]) -> Span:
    """Return the client's span of a call, which knows nothing of the listener's spans: it lies beside them."""
    attributes = {
        "openinference.span.kind": "LLM",
        "input.value": dump({"messages": messages, "model": "gpt-4o-mini", "tools": [openai_tool()]}),
        "output.value": dump({"object": "chat.completion", "model": "gpt-4o-mini-2024-07-18", **response}),
    }
    return span(name, parent="request", attributes=attributes, scope=CLIENT, start=start, end=start + 2)


def read(*spans: Span) -> list[dict[str, Any]]:
    """Return the model calls in the order they began."""
    calls = run((list(spans), [])).tables["llm_calls"].sort("start_ns")
    return [decoded("llm_calls", row) for row in calls.iter_rows(named=True)]


def test_what_crewai_cut_off_is_read_back() -> None:
    """Names, arguments and schemas deep in a value are Python's repr; an answer is the list of its tool calls."""
    one, two = read(*crew())

    assert one["output"][0]["tool_calls"] == [REQUEST]
    assert (one["tools"], two["tools"]) == ([TOOL], [TOOL])
    assert two["input"][1]["tool_calls"] == [REQUEST]
    assert (one["model_requested"], one["model_returned"]) == ("gpt-4o-mini", None)
    assert (one["agent"], two["agent"]) == ("Mathematician", "Mathematician")


def test_a_crews_events_and_its_clients_spans_are_one_call() -> None:
    """They share a trace and no ancestor but its root; CrewAI drops the words beside tool calls."""
    asks = {"role": "assistant", "content": "I compute.", "tool_calls": [request(REQUEST["name"], dump(ARGUMENTS))]}
    result = {"role": "tool", "tool_call_id": REQUEST["id"], "content": "84"}
    history = [*ASKED, {**asks, "content": None}, result]
    says = {"role": "assistant", "content": ANSWER}

    one, two = read(
        *crew(),
        client("a", 2, {"id": "chatcmpl-1", "choices": [{"message": asks, "finish_reason": "tool_calls"}]}, *ASKED),
        client("b", 12, {"id": "chatcmpl-2", "choices": [{"message": says, "finish_reason": "stop"}]}, *history),
    )

    assert (one["response_id"], two["response_id"]) == ("chatcmpl-1", "chatcmpl-2")
    assert (one["agent"], two["agent"]) == ("Mathematician", "Mathematician")
    assert (one["output"][0]["text"], one["model_returned"]) == ("I compute.", "gpt-4o-mini-2024-07-18")


def test_an_object_written_anew_is_the_same_answer() -> None:
    """CrewAI parses a structured answer and hands on its own JSON, without the spaces of the model's."""
    attributes = {"llm.model_name": "gpt-4o-mini", "input.value": dump(ASKED), "output.value": '{"city":"Oslo"}'}
    attributes |= {"llm.output_messages.0.message.content": '{"city":"Oslo"}'}
    says = {"role": "assistant", "content": '{"city": "Oslo"}'}

    (call,) = read(
        span("request", end=20),
        event("one.llm_call", "LLM", parent="request", attributes=attributes, start=1, end=5),
        client("a", 2, {"id": "chatcmpl-1", "choices": [{"message": says, "finish_reason": "stop"}]}, *ASKED),
    )

    assert (call["response_id"], call["output"][0]["text"]) == ("chatcmpl-1", '{"city": "Oslo"}')
