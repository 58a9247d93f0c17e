"""MLflow: attributes as it wrote them, where a first reading was wrong."""

from typing import Any

from tests.conversation import ARGUMENTS, QUESTION, REQUEST, TOOL, dump, run
from tests.spans import span
from tests.unit.etl.dialects.reading import bare, calls_of, read, tools_of


def mlflow(name: str, kind: str, **attributes: Any) -> dict[str, Any]:
    """Return a span of MLflow: every attribute is JSON."""
    start, parent = attributes.pop("start", 0), attributes.pop("parent", None)
    written = {key.replace("__", "."): dump(value) for key, value in attributes.items()}
    return span(
        name,
        attributes={"mlflow.spanType": dump(kind), **written},
        scope="mlflow.tracing.provider",
        start=start,
        parent=parent,
    )


def test_mlflow_records_langchain_in_langchains_shapes() -> None:
    """MLflow 3.17, `langchain.autolog`: parameters as `invocation_params`, messages as bare fields, ids around."""
    item = {"type": "function_call", "call_id": "call_1", "name": "calculator", "arguments": dump(ARGUMENTS)}
    request = {"name": "calculator", "args": ARGUMENTS, "id": "call_1", "type": "tool_call"}
    ended = {"id": "resp_2", "status": "completed", "model_name": "gpt-4o-mini-2024-07-18"}
    answered = bare("ai", [{"type": "text", "text": "84"}], response_metadata=ended, id="resp_2")
    asked = [
        bare("human", QUESTION),
        bare("ai", [item], tool_calls=[request]),
        bare("tool", "84", tool_call_id="call_1"),
    ]
    call_span = mlflow(
        "ChatOpenAI",
        "CHAT_MODEL",
        parent="model",
        mlflow__spanInputs=[asked],
        mlflow__spanOutputs={"choices": [{"message": {"role": "assistant", "content": "84"}, "finish_reason": None}]},
        mlflow__message__format="langchain",
        mlflow__llm__model="gpt-4o-mini",
        mlflow__chat__tools=[{"type": "function", "function": TOOL}],
        invocation_params={"model": "gpt-4o-mini", "temperature": 0.3, "stream": False, "_type": "openai-chat"},
        metadata={"lc_agent_name": "MathAgent", "langgraph_node": "model"},
    )
    around = mlflow("model", "CHAIN", mlflow__spanOutputs=[{"update": {"messages": [answered]}}])
    tool = mlflow(
        "calculator",
        "TOOL",
        start=2,
        mlflow__spanInputs=ARGUMENTS,
        mlflow__spanOutputs=bare("tool", "84", tool_call_id="call_1", status="success"),
        tool_call_id="call_1",
    )

    dataset = run(([around, call_span, tool], []))

    (call,) = calls_of(dataset)
    assert call["input"] == [
        {"role": "user", "text": QUESTION},
        {"role": "assistant", "text": None, "tool_calls": [REQUEST]},
        {"role": "tool", "text": "84", "tool_call_id": "call_1"},
    ]
    assert (call["params"], call["streamed"], call["agent"]) == ({"temperature": 0.3}, False, "MathAgent")
    assert (call["model_requested"], call["model_returned"]) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert call["response_id"] == "resp_2"
    assert call["output"][0]["finish_reason"] == "completed"
    (execution,) = tools_of(dataset)
    assert (execution["result"], execution["tool_call_id"]) == ("84", "call_1")


def test_mlflow_records_dspys_model_below_its_programs() -> None:
    """DSPy 3.4 under MLflow 3.17: `Predict` is no call, the model's answer is a list of texts, a tool has a name."""
    spans = [
        mlflow("Predict.forward", "LLM", signature="question -> answer", mlflow__spanOutputs={"answer": "84"}),
        mlflow(
            "LM.__call__",
            "CHAT_MODEL",
            parent="Predict.forward",
            mlflow__spanInputs={"messages": [{"role": "user", "content": QUESTION}]},
            mlflow__spanOutputs=["[[ ## answer ## ]]\n84"],
            mlflow__message__format="dspy",
            mlflow__llm__model="openai/gpt-4o-mini",
            model="openai/gpt-4o-mini",
            temperature=0.4,
            max_tokens=60,
            cache=False,
        ),
        span(
            "Tool.calculator",
            start=2,
            attributes={
                "mlflow.spanType": dump("TOOL"),
                "mlflow.spanInputs": dump(ARGUMENTS),
                "mlflow.spanOutputs": dump("84"),
                "name": dump("calculator"),
            },
            scope="mlflow.tracing.provider",
        ),
    ]

    dataset = run((spans, []))

    (tool,) = tools_of(dataset)
    assert (tool["name"], tool["arguments"], tool["result"]) == ("calculator", ARGUMENTS, "84")
    (call,) = calls_of(dataset)
    assert (call["model_requested"], call["model_returned"]) == ("gpt-4o-mini", None)
    assert call["params"] == {"temperature": 0.4, "max_tokens": 60}
    assert call["output"][0]["text"] == "[[ ## answer ## ]]\n84"


def test_mlflows_last_chunk_of_a_response_is_the_whole_of_it() -> None:
    """MLflow 3.17, `openai.autolog`, streamed Responses API: chunks are the API's events."""
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "84"}]}
    whole = {"id": "resp_1", "object": "response", "status": "completed", "model": "gpt-4o-mini", "output": [message]}
    chunks = [
        {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}},
        {"type": "response.output_text.delta", "delta": "84"},
        {"type": "response.completed", "response": whole},
    ]
    attributes = {
        "mlflow.spanType": dump("CHAT_MODEL"),
        "mlflow.spanInputs": dump({"model": "gpt-4o-mini", "input": QUESTION, "stream": True}),
    }
    events = [
        {"name": f"mlflow.chunk.item.{n}", "time_ns": n, "attributes": {"mlflow.chunk.value": dump(chunk)}}
        for n, chunk in enumerate(chunks)
    ]

    (call,) = read(span("Responses", attributes=attributes, scope="mlflow.tracing.provider", events=events))

    assert (call["api"], call["response_id"], call["streamed"]) == ("responses", "resp_1", True)
    assert (call["output"][0]["text"], call["output"][0]["finish_reason"]) == ("84", "completed")


def test_mlflow_embeddings_are_no_calls_of_a_policy() -> None:
    """MLflow 3.17, `openai.autolog`: the client's request and response."""
    spans = [
        mlflow(
            "Embeddings",
            "EMBEDDING",
            mlflow__spanInputs={"model": "text-embedding-3-small", "input": ["one", "two"]},
            mlflow__spanOutputs={"data": [{"embedding": [0.1, 0.2]}] * 2, "usage": {"prompt_tokens": 9}},
        )
    ]

    dataset = run((spans, []))

    (call,) = calls_of(dataset)
    assert (call["input"], call["usage"]["input_tokens"]) == (["one", "two"], 9)
    assert call["output"] == [{"embedding_dimensions": 2}] * 2
    assert dataset.counts["calls"]["rejected"] == {"embedding": 1}


def test_an_id_from_around_goes_to_no_one_of_several_alike() -> None:
    """Two answers that say the same keep no id where nothing tells which of the two it is of."""
    told = bare("ai", "84", response_metadata={"id": "chatcmpl-1", "finish_reason": "stop"})
    around = mlflow("model", "CHAIN", mlflow__spanOutputs={"messages": [told]})

    def call(name: str, start: float) -> dict[str, Any]:
        return mlflow(
            name,
            "CHAT_MODEL",
            start=start,
            parent="model",
            mlflow__spanInputs={"messages": [{"role": "user", "content": name}]},
            mlflow__spanOutputs={"choices": [{"message": {"role": "assistant", "content": "84"}}]},
        )

    alone = read(around, call("one", 0))
    alike = read(around, call("one", 0), call("other", 2))

    assert [entry["response_id"] for entry in alone] == ["chatcmpl-1"]
    assert [entry["response_id"] for entry in alike] == [None, None]
