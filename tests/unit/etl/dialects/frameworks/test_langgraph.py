"""LangGraph's agents and tools under OpenInference: attributes as langgraph 1.2 and langchain-core 1.7 gave them."""

from typing import Any

from etl.exports.export import decoded
from tests.conversation import ARGUMENTS, QUESTION, dump, run
from tests.spans import Span, span

SCOPE = "openinference.instrumentation.langchain"
ASKING = [{"id": "call_1", "type": "function", "function": {"name": "calculator", "arguments": dump(ARGUMENTS)}}]
RESULT = {"role": "tool", "content": "84", "tool_call_id": "call_1"}
GRAPH = {"ls_integration": "langgraph"}


def run_of(name: str, kind: str, *, metadata: dict[str, Any], parent: str | None = "graph", **more: Any) -> Span:
    """Return the span of one of LangChain's runs; `more` are `input`, `output`, `tool` and the span's own fields."""
    attributes: dict[str, Any] = {"openinference.span.kind": kind, "metadata": dump(metadata)}
    for key in ("input", "output"):
        value = more.pop(key, None)
        if isinstance(value, str):
            attributes[f"{key}.value"] = value
        elif value is not None:
            attributes |= {f"{key}.value": dump(value), f"{key}.mime_type": "application/json"}
    if "tool" in more:
        attributes["tool.name"] = more.pop("tool")
    return span(name, parent=parent, attributes=attributes, scope=SCOPE, **more)


def node(name: str, **more: Any) -> Span:
    """Return the span of a graph's node that OpenInference takes for an agent, by its name."""
    return run_of(name, "AGENT", metadata={**GRAPH, "langgraph_node": name}, **more)


def model(name: str, start: float, parent: str, messages: list[dict[str, Any]], **answer: Any) -> Span:
    """Return the span of a model call."""
    asked = {"model": "m", "messages": [{"role": "user", "content": QUESTION}, *messages]}
    answered = {"choices": [{"message": {"role": "assistant", "content": None, **answer}, "finish_reason": "stop"}]}
    return run_of(name, "LLM", metadata={}, parent=parent, start=start, input=asked, output=answered)


def said_by(agent: str | None) -> dict[str, Any]:
    """Return what a node puts into the graph's state."""
    return {"messages": [{"type": "ai", "data": {"content": "84", "response_metadata": {}, "name": agent}}]}


def tables(*spans: Span) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of calls and tools in the order they began."""
    found = run((list(spans), [])).tables
    return {
        name: [decoded(name, row) for row in found[name].sort("start_ns").iter_rows(named=True)]
        for name in ("llm_calls", "tool_calls")
    }


def conversation(*tool: Span) -> list[Span]:
    """Return a call that asks for the tool, its execution, and the call that has the result."""
    before = model("asks", 0, "graph", [], tool_calls=ASKING)
    history = [{"role": "assistant", "content": None, "tool_calls": ASKING}, RESULT]
    return [span("graph", end=9), before, *tool, model("answers", 4, "graph", history, content="84")]


def test_a_tools_message_is_its_result_and_has_its_id() -> None:
    """It is dumped as type and data; the only argument, a text, is recorded bare."""
    message = {"content": "84", "response_metadata": {}, "tool_call_id": "call_1", "status": "success"}
    tool = run_of(
        "calculator",
        "TOOL",
        metadata=GRAPH,
        start=2,
        input=ARGUMENTS["expression"],
        output={"type": "tool", "data": message},
        tool="calculator",
    )

    (found,) = tables(*conversation(tool))["tool_calls"]

    assert (found["tool_call_id"], found["arguments"], found["result"]) == ("call_1", ARGUMENTS, "84")
    assert found["span_id"] is not None


def test_a_tool_that_failed_is_one_execution() -> None:
    """A raised error leaves the span without an id, and its argument bare; the next request has id and arguments."""
    tool = run_of(
        "calculator",
        "TOOL",
        metadata=GRAPH,
        start=2,
        input=ARGUMENTS["expression"],
        tool="calculator",
        status="error",
        message="ValueError('broken')",
    )

    (found,) = tables(*conversation(tool))["tool_calls"]

    assert (found["arguments"], found["error"]) == (ARGUMENTS, "broken")


def test_a_tool_may_answer_that_it_failed() -> None:
    """A message whose status says so is an error, in its own words."""
    message = {"content": "no such city", "response_metadata": {}, "tool_call_id": "call_1", "status": "error"}
    tool = run_of("calculator", "TOOL", metadata=GRAPH, start=2, output={"type": "tool", "data": message})

    (found,) = tables(*conversation(tool))["tool_calls"]

    assert (found["error"], found["result"]) == ("no such city", None)


def test_a_prebuilt_agent_is_called_as_its_answers_are() -> None:
    """Its node is "agent" in every graph; where answers bear no name, the node's is all there is."""
    named = tables(
        span("graph", end=9), node("agent", output=said_by("math")), model("asks", 0.1, "agent", [], content="84")
    )
    nameless = tables(
        span("graph", end=9), node("agent", output=said_by(None)), model("asks", 0.1, "agent", [], content="84")
    )

    assert [call["agent"] for call in named["llm_calls"]] == ["math"]
    assert [call["agent"] for call in nameless["llm_calls"]] == ["agent"]


def test_calls_of_other_nodes_are_the_named_graphs() -> None:
    """As the one that puts a prebuilt agent's answer into a schema; a graph without a name is no agent."""
    for name, agent in (("math", "math"), ("LangGraph", None)):
        graph = run_of(name, "CHAIN", metadata=GRAPH, parent=None, end=9)
        metadata = {**GRAPH, "langgraph_node": "generate_structured_response"}
        inner = run_of("generate_structured_response", "CHAIN", metadata=metadata, parent=name)

        found = tables(graph, inner, model("asks", 0.1, "generate_structured_response", [], content="84"))

        assert [call["agent"] for call in found["llm_calls"]] == [agent]


def test_a_stream_whose_clients_span_lost_its_parent_is_the_agents() -> None:
    """OpenInference over LangGraph and OpenAI's client: the client's span of a lazy stream is below the root."""
    asked = {"model": "m", "messages": [{"role": "user", "content": QUESTION}]}
    answered = {"id": "chatcmpl-1", "choices": [{"message": {"role": "assistant", "content": "84"}}]}
    recorded = {"input": asked, "output": answered, "metadata": {}}

    (call,) = tables(
        span("graph", end=9),
        node("agent", output=said_by("math"), end=3),
        run_of("ChatOpenAI", "LLM", parent="agent", start=0.1, end=1, **recorded),
        run_of("ChatCompletion", "LLM", start=0.2, end=0.9, **recorded),
    )["llm_calls"]

    assert call["agent"] == "math"


def test_langsmith_records_the_same_graph_with_bare_messages() -> None:
    """LangSmith 0.15 over OpenTelemetry: the graph's run, and its node whose answers bear the agent's name."""

    def chain(name: str, parent: str | None, **more: Any) -> Span:
        metadata = {"langsmith.span.kind": "chain", "langsmith.metadata.ls_integration": "langgraph"}
        return span(name, parent=parent, attributes={**metadata, **more}, scope="langsmith", end=3)

    def asking(name: str, parent: str) -> Span:
        attributes = {"langsmith.span.kind": "llm", "gen_ai.prompt": dump({"messages": []})}
        return span(name, parent=parent, attributes=attributes, scope="langsmith")

    found = tables(
        chain("math", None),
        asking("whole", "math"),
        chain(
            "agent",
            "math",
            **{
                "langsmith.metadata.langgraph_node": "agent",
                "gen_ai.completion": dump({"messages": [{"type": "ai", "content": "84", "name": "inner"}]}),
            },
        ),
        asking("part", "agent"),
    )

    assert {call["agent"] for call in found["llm_calls"]} == {"math", "inner"}
