"""Frameworks with tracing of their own: attributes as the libraries wrote them, where a first reading was wrong."""

from typing import Any

import pytest

from etl.exports.export import decoded
from etl.tables import Dataset
from tests.conversation import ARGUMENTS, QUESTION, REQUEST, SCHEMA, TOOL, dump, run
from tests.recordings import FRAMEWORKS, compare, scenarios
from tests.spans import START_NS, Span, identifier, span

Row = dict[str, Any]

RECORDINGS = scenarios(FRAMEWORKS)


@pytest.mark.parametrize(("producer", "scenario"), RECORDINGS, ids=["-".join(pair) for pair in RECORDINGS])
def test_what_a_framework_recorded_is_what_was_on_the_wire(producer: str, scenario: str) -> None:
    """Every call comes out once, none is made up, and no value is another than the model server had noted."""
    comparison = compare(producer, scenario, FRAMEWORKS)

    assert (comparison.recovered, comparison.duplicates, comparison.invented) == (comparison.expected, 0, 0)
    assert comparison.differences == []


def calls_of(dataset: Dataset) -> list[Row]:
    """Return the model calls in the order they began."""
    return [decoded("llm_calls", row) for row in dataset.tables["llm_calls"].sort("start_ns").iter_rows(named=True)]


def tools_of(dataset: Dataset) -> list[Row]:
    """Return the tool calls in the order they began."""
    return [decoded("tool_calls", row) for row in dataset.tables["tool_calls"].sort("start_ns").iter_rows(named=True)]


def read(*spans: Span) -> list[Row]:
    """Return the model calls of a trace."""
    return calls_of(run((list(spans), [])))


def parts(role: str, *found: dict[str, Any], **rest: Any) -> str:
    """Return one message in the conventions' shape."""
    return dump([{"role": role, "parts": list(found), **rest}])


def test_a_time_to_the_first_chunk_means_a_stream() -> None:
    """pydantic-ai 2.68 and @ai-sdk/otel 1.0 put the name of the conventions' metric on the span."""
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.input.messages": parts("user", {"type": "text", "content": QUESTION}),
    }

    calls = read(
        span("streamed", attributes={**chat, "gen_ai.client.operation.time_to_first_chunk": 0.02}, scope="pydantic-ai"),
        span("whole", start=2, attributes=chat, scope="pydantic-ai"),
    )

    assert [call["streamed"] for call in calls] == [True, None]


def test_pydantic_ai_sends_its_limit_under_the_newer_name() -> None:
    """pydantic-ai 1 and 2 record `max_tokens`, and send `max_completion_tokens` to OpenAI's chat completions."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.response.id": "chatcmpl-1",
    }

    (call,) = read(span("chat gpt-4o-mini", attributes=attributes, scope="pydantic-ai"))

    assert call["params"] == {"max_completion_tokens": 50}


def test_ai_sdk_7_follows_the_conventions_with_its_own_additions() -> None:
    """@ai-sdk/otel 1.0 (`ai` 7): no `ai.operationId`; results JSON-encoded, reasoning tokens under another name."""
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.system_instructions": dump([{"type": "text", "content": "Use the calculator."}]),
        "gen_ai.input.messages": parts("user", {"type": "text", "content": QUESTION}),
        "gen_ai.tool.definitions": dump(
            [{"type": "function", "name": "calculator", "inputSchema": SCHEMA, "description": "Evaluate."}]
        ),
        "gen_ai.response.finish_reasons": ["tool-calls"],
        "gen_ai.response.id": "resp_1",
        "gen_ai.usage.input_tokens": 101,
        "gen_ai.usage.output_tokens": 11,
        "ai.usage.outputTokenDetails.reasoningTokens": 3,
        "gen_ai.output.messages": parts("assistant", {"type": "tool_call", **REQUEST}, finish_reason="tool_call"),
    }
    execution = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "calculator",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.call.arguments": dump(ARGUMENTS),
        "gen_ai.tool.call.result": '"84"',
    }
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "MathAgent"}

    dataset = run(
        (
            [
                span("invoke_agent gpt-4o-mini", end=9, attributes=agent, scope="gen_ai"),
                span("chat gpt-4o-mini", parent="invoke_agent gpt-4o-mini", attributes=chat, scope="gen_ai"),
                span(
                    "execute_tool calculator",
                    parent="invoke_agent gpt-4o-mini",
                    start=2,
                    attributes=execution,
                    scope="gen_ai",
                ),
            ],
            [],
        )
    )

    (call,) = calls_of(dataset)
    assert call["agent"] == "MathAgent"
    assert call["tools"] == [TOOL]
    assert call["output"][0]["finish_reason"] == "completed"
    assert call["usage"]["reasoning_tokens"] == 3
    (tool,) = tools_of(dataset)
    assert (tool["result"], tool["error"]) == ("84", None)


def test_ai_sdk_7_says_the_http_status_of_a_failure() -> None:
    """@ai-sdk/otel 1.0: `http.response.status_code` on the failed call; the message has no number in it."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "http.response.status_code": 400,
    }

    (call,) = read(span("chat", attributes=attributes, scope="ai", status="error", message="It is too long."))

    assert call["error"]["http_status"] == 400
    assert call["error"]["message"] == "It is too long."


def test_the_ai_sdks_embeddings_are_no_calls_of_a_policy() -> None:
    """`ai` 5 and 6: `ai.embedMany` around `ai.embedMany.doEmbed`; texts and vectors are lists of JSON texts."""
    model = {"ai.model.provider": "openai.embedding", "ai.model.id": "text-embedding-3-small"}
    outer = {"ai.operationId": "ai.embedMany", "ai.values": ['"one"', '"two"'], **model}
    inner = {
        **outer,
        "ai.operationId": "ai.embedMany.doEmbed",
        "ai.embeddings": ["[0.1,0.2,0.3]", "[0.4,0.5,0.6]"],
        "ai.usage.tokens": 9,
    }

    dataset = run(
        (
            [
                span("ai.embedMany", end=3, attributes=outer, scope="ai"),
                span("ai.embedMany.doEmbed", parent="ai.embedMany", attributes=inner, scope="ai"),
            ],
            [],
        )
    )

    (call,) = calls_of(dataset)
    assert (call["api"], call["input"]) == ("embeddings", ["one", "two"])
    assert call["output"] == [{"embedding_dimensions": 3}, {"embedding_dimensions": 3}]
    assert call["usage"]["input_tokens"] == 9
    assert dataset.counts["calls"]["rejected"] == {"embedding": 1}


def test_the_ai_sdk_sends_no_tool_choice_without_tools() -> None:
    """`ai` 5 to 7 write `ai.prompt.toolChoice` = auto on every call."""
    attributes = {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.model.provider": "openai.chat",
        "ai.model.id": "gpt-4o-mini",
        "ai.prompt.messages": dump([{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]),
        "ai.prompt.toolChoice": dump({"type": "auto"}),
    }
    offer = {"type": "function", "name": "calculator", "description": "Evaluate.", "inputSchema": SCHEMA}

    bare, offered = read(
        span("bare", attributes=attributes, scope="ai"),
        span("offered", start=2, attributes={**attributes, "ai.prompt.tools": [dump(offer)]}, scope="ai"),
    )

    assert bare["params"] == {}
    assert offered["params"] == {"tool_choice": "auto"}


LANGFUSE = "langfuse.observation."
WRAPPED = {"temperature": 1, "max_tokens": "Infinity", "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0}
"""Parameters as Langfuse's wrapper of OpenAI's client writes them where the program set none."""


def observation(name: str, kind: str, *, start: float = 0, parent: str | None = None, **fields: Any) -> Span:
    """Return an observation of Langfuse; objects are written as JSON, as it does."""
    written = {
        LANGFUSE + key.replace("__", "."): dump(value) if isinstance(value, dict | list) else value
        for key, value in {"type": kind, **fields}.items()
    }
    return span(name, attributes=written, scope="langfuse-sdk", start=start, parent=parent)


def test_langfuse_lists_langchains_tools_among_the_messages() -> None:
    """Langfuse 3 to 5, handler for LangChain: offered tools as messages, kinds of tokens taken out of their sum."""
    offered = {"role": "tool", "content": {"type": "function", "function": TOOL}}
    request = {"name": "calculator", "args": ARGUMENTS, "id": "call_1", "type": "tool_call"}
    item = {"type": "function_call", "call_id": "call_1", "name": "calculator", "arguments": dump(ARGUMENTS)}
    generation = observation(
        "ChatOpenAI",
        "generation",
        parent="model",
        input=[
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": [item], "tool_calls": [request]},
            {"role": "tool", "content": "84", "tool_call_id": "call_1"},
            offered,
        ],
        output={"role": "assistant", "content": "", "tool_calls": [{**request, "id": "call_2"}]},
        usage_details={"input": 85, "output": 8, "total": 112, "input_cache_read": 16, "output_reasoning": 3},
        model__parameters={"temperature": 0.3},
        model__name="gpt-4o-mini-2024-07-18",
        metadata__ls_provider='"openai"',
        metadata__ls_model_name='"gpt-4o-mini"',
        metadata__lc_agent_name='"MathAgent"',
    )
    told = {
        "type": "ai",
        "content": "",
        "id": "lc_run--01a1ff51-4d4f-7586-996d-df7b6dfbe068-0",
        "tool_calls": [{**request, "id": "call_2"}],
        "response_metadata": {"id": "chatcmpl-1", "finish_reason": "tool_calls"},
    }
    node = observation("model", "chain", output=[{"update": {"messages": [told]}, "goto": []}])

    (call,) = read(node, generation)

    assert call["tools"] == [TOOL]
    assert call["input"] == [
        {"role": "user", "text": QUESTION},
        {"role": "assistant", "text": None, "tool_calls": [REQUEST]},
        {"role": "tool", "text": "84", "tool_call_id": "call_1"},
    ]
    assert [entry["id"] for entry in call["output"][0]["tool_calls"]] == ["call_2"]
    assert (call["response_id"], call["output"][0]["finish_reason"]) == ("chatcmpl-1", "tool_calls")
    assert (call["usage"]["input_tokens"], call["usage"]["output_tokens"]) == (101, 11)
    assert (call["model_requested"], call["model_returned"]) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert (call["agent"], call["streamed"]) == ("MathAgent", False)


def test_langfuse_records_an_only_item_without_its_list() -> None:
    """Langfuse 5, wrapper of OpenAI's Responses API: the request's items under `input`, one output item bare."""
    item = {"type": "function_call", "call_id": "call_1", "name": "calculator", "arguments": dump(ARGUMENTS)}
    tool = {"type": "function", **TOOL}

    (call,) = read(
        observation(
            "OpenAI-generation",
            "generation",
            input={"input": [{"role": "user", "content": QUESTION}], "tools": [tool]},
            output={**item, "status": "completed"},
            model__parameters=WRAPPED,
            model__name="gpt-4o-mini-2024-07-18",
        )
    )

    assert (call["api"], call["params"], call["tools"]) == ("responses", {}, [TOOL])
    assert call["input"] == [{"role": "user", "text": QUESTION}]
    assert call["output"][0]["tool_calls"] == [REQUEST]
    assert call["output"][0]["finish_reason"] == "completed"


def test_langfuse_streams_tell_id_and_instructions_as_metadata() -> None:
    """Langfuse 3, wrapper of OpenAI's Responses API, streamed: a bare question, the rest as metadata."""
    (call,) = read(
        observation(
            "OpenAI-generation",
            "generation",
            input=QUESTION,
            output={"type": "message", "status": "completed", "content": [{"type": "output_text", "text": "84"}]},
            model__parameters=WRAPPED,
            model__name="gpt-4o-mini-2024-07-18",
            completion_start_time='"2026-11-21T18:14:16Z"',
            metadata__id="resp_1",
            metadata__instructions="Use the calculator.",
            metadata__status="completed",
        )
    )

    assert call["input"] == [{"role": "system", "text": "Use the calculator."}, {"role": "user", "text": QUESTION}]
    assert (call["response_id"], call["streamed"]) == ("resp_1", True)


def test_langfuses_handler_and_wrapper_see_one_call() -> None:
    """Langfuse 3: the wrapper below LangChain writes an empty object for an answer that it could not read."""
    generation = observation(
        "ChatOpenAI",
        "generation",
        input=[{"role": "user", "content": QUESTION}],
        output={"role": "assistant", "content": "84"},
        metadata__ls_provider="openai",
        metadata__ls_model_name="gpt-4o-mini",
    )
    client = observation(
        "OpenAI-generation",
        "generation",
        parent="ChatOpenAI",
        input=[{"role": "user", "content": QUESTION}],
        output={},
        model__parameters=WRAPPED,
        model__name="gpt-4o-mini",
    )

    (call,) = read(generation, client)

    assert call["output"][0]["text"] == "84"
    assert len(call["merged_span_ids"]) == 1


def test_langfuses_decorator_names_the_arguments_of_a_tool() -> None:
    """Langfuse 3 to 5, `@observe(as_type="tool")`: what was given by name; what came by position has no names."""
    spans = [
        observation("calculator", "tool", input={"args": [], "kwargs": ARGUMENTS}, output="84"),
        observation("calculator by position", "tool", input={"args": ["12*7"], "kwargs": {}}, output="84", start=1),
    ]

    named, positional = tools_of(run((spans, [])))

    assert (named["arguments"], named["result"]) == (ARGUMENTS, "84")
    assert positional["arguments"] is None


def test_langfuse_embeddings_are_no_calls_of_a_policy() -> None:
    """Langfuse 3 to 5, wrapper of OpenAI's embeddings."""
    dataset = run(
        (
            [
                observation(
                    "OpenAI-embedding",
                    "embedding",
                    input=["one", "two"],
                    output={"dimensions": 8, "count": 2},
                    usage_details={"input": 9},
                    model__name="text-embedding-3-small",
                )
            ],
            [],
        )
    )

    (call,) = calls_of(dataset)
    assert (call["api"], call["input"], len(call["output"])) == ("embeddings", ["one", "two"], 2)
    assert dataset.counts["calls"]["rejected"] == {"embedding": 1}


def langchain(kind: str, **kwargs: Any) -> dict[str, Any]:
    """Return a message as LangChain's serialiser writes it."""
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": kwargs}


def langsmith_call(generation: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    """Return the attributes of a LangChain model call in LangSmith's OpenTelemetry mode."""
    return {
        "langsmith.span.kind": "llm",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "langsmith.metadata._type": "openai-chat",
        "langsmith.metadata.temperature": 0.3,
        "langsmith.metadata.max_completion_tokens": 50,
        "langsmith.metadata.stream": True,
        "gen_ai.prompt": dump({"messages": [[langchain("HumanMessage", content=QUESTION, type="human")]]}),
        "gen_ai.completion": dump({"generations": [[{"type": "ChatGeneration", "message": generation}]]}),
        **attributes,
    }


def test_langsmith_keeps_a_langchain_models_parameters_as_metadata() -> None:
    """LangSmith 0.15 with LangChain 1.4: parameters and streaming are metadata, and so are the details of usage."""
    said = langchain("AIMessage", content="84", response_metadata={"finish_reason": "stop"})
    counts = {"input_tokens": 101, "output_tokens": 11, "input_token_details": {"cache_read": 16}}
    attributes = langsmith_call(
        said,
        **{
            "gen_ai.usage.input_tokens": 101,
            "gen_ai.usage.output_tokens": 11,
            "langsmith.metadata.usage_metadata": dump(counts),
        },
    )

    (call,) = read(span("ChatOpenAI", attributes=attributes, scope="langsmith"))

    assert call["params"] == {"temperature": 0.3, "max_completion_tokens": 50}
    assert call["streamed"] is True
    assert call["usage"]["cached_input_tokens"] == 16


def test_langchains_answer_of_the_responses_api_asks_once() -> None:
    """LangChain 1.4: `content` has the API's own item or block for each call that `tool_calls` has too."""
    item = {"type": "function_call", "call_id": "call_1", "name": "calculator", "arguments": dump(ARGUMENTS)}
    request = {"name": "calculator", "args": ARGUMENTS, "id": "call_1", "type": "tool_call"}
    metadata = {"id": "resp_1", "status": "completed", "model_name": "gpt-4o-mini-2024-07-18"}
    said = langchain("AIMessage", content=[item], tool_calls=[request], response_metadata=metadata)

    (call,) = read(span("ChatOpenAI", attributes=langsmith_call(said), scope="langsmith"))

    assert call["api"] == "responses"
    assert call["output"][0]["tool_calls"] == [REQUEST]
    assert call["output"][0]["finish_reason"] == "completed"


def test_langchains_empty_answer_of_a_failed_call_is_none() -> None:
    """LangSmith 0.15 with LangChain 1.4: the answer of a failed call is the error's body, around no text."""
    body = {"error": {"message": "No.", "type": "bad_request", "code": "bad_request"}}
    said = langchain("AIMessage", content="", response_metadata={"body": body, "status_code": 400})
    failure = {"name": "exception", "time_ns": 0, "attributes": {"exception.message": "Error code: 400 - No."}}

    (call,) = read(
        span("ChatOpenAI", attributes=langsmith_call(said), scope="langsmith", status="error", events=[failure])
    )

    assert call["output"] is None
    assert (call["error"]["http_status"], call["error"]["code"]) == (400, "bad_request")


def test_what_langsmiths_evaluators_ask_is_no_action() -> None:
    """LangSmith 0.15, `evaluate`: an evaluator's run names the run it judges, or is of the evaluators' project."""
    said = langchain("AIMessage", content="84", response_metadata={"finish_reason": "stop"})
    chain = {"langsmith.span.kind": "chain", "gen_ai.operation.name": "chain"}
    spans = [
        span("acting", attributes=langsmith_call(said), scope="langsmith"),
        span("by run", attributes={**chain, "langsmith.metadata.target_run_id": "r"}, scope="langsmith"),
        span("by project", attributes={**chain, "langsmith.trace.session_name": "evaluators"}, scope="langsmith"),
        span("judging", parent="by run", attributes=langsmith_call(said), scope="langsmith"),
        span("judging too", parent="by project", attributes=langsmith_call(said), scope="langsmith"),
    ]

    dataset = run((spans, []))

    assert dataset.counts["calls"] == {"in": 3, "transitions": 1, "rejected": {"evaluator": 2}}


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


def bare(kind: str, content: Any, **rest: Any) -> dict[str, Any]:
    """Return a message of LangChain as bare fields, without its class."""
    return {"type": kind, "content": content, "additional_kwargs": {}, "response_metadata": {}, "name": None, **rest}


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


def test_adks_call_and_its_client_beneath_are_one() -> None:
    """ADK 2.13, its first schema, content hidden from logs: `call_llm` is whole, `generate_content` is elided."""
    request = {
        "model": "gemini-2.5-flash",
        "config": {"max_output_tokens": 50},
        "contents": [{"role": "user", "parts": [{"text": QUESTION}]}],
    }
    response = {
        "model_version": "gemini-2.5-flash-001",
        "content": {"role": "model", "parts": [{"text": "84"}]},
        "finish_reason": "STOP",
    }
    outer = {
        "gen_ai.system": "gcp.vertex.agent",
        "gen_ai.request.model": "gemini-2.5-flash",
        "gen_ai.request.max_tokens": 50,
        "gcp.vertex.agent.llm_request": dump(request),
        "gcp.vertex.agent.llm_response": dump(response),
    }
    inner = {
        "gen_ai.system": "gemini",
        "gen_ai.operation.name": "generate_content",
        "gen_ai.request.model": "gemini-2.5-flash",
    }
    logs = [
        {
            "project": "default",
            "trace_id": identifier("t", 32),
            "span_id": identifier("generate_content gemini-2.5-flash", 16),
            "event_name": name,
            "time_ns": START_NS,
            "observed_ns": START_NS,
            "body": dump(body),
            "attributes": "{}",
            "received_seq": 1,
            "record_index": index,
        }
        for index, (name, body) in enumerate(
            [
                ("gen_ai.user.message", {"content": "<elided>"}),
                ("gen_ai.choice", {"content": "<elided>", "index": 0, "finish_reason": "STOP"}),
            ]
        )
    ]
    spans = [
        span("call_llm", attributes=outer, scope="gcp.vertex.agent", end=3),
        span("generate_content gemini-2.5-flash", parent="call_llm", attributes=inner, scope="gcp.vertex.agent"),
    ]

    (call,) = calls_of(run((spans, logs)))

    assert call["input"] == [{"role": "user", "text": QUESTION}]
    assert (call["output"][0]["text"], call["output"][0]["finish_reason"]) == ("84", "STOP")
    assert (call["model_returned"], call["params"]) == ("gemini-2.5-flash-001", {"max_output_tokens": 50})


def test_adks_placeholder_is_no_id_of_a_tool_call() -> None:
    """ADK 2.13: a failed tool's span says that its id is not specified."""
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "lookup_order",
        "gen_ai.tool.call.id": "<not specified>",
    }
    spans = [
        span(
            "execute_tool lookup_order", attributes=attributes, scope="gcp.vertex.agent", status="error", message="No."
        )
    ]

    (tool,) = tools_of(run((spans, [])))

    assert (tool["tool_call_id"], tool["error"]) == (None, "No.")


def test_haystack_3_gives_an_agents_calls_and_tools_spans_of_their_own() -> None:
    """Haystack 3.4 with opentelemetry-haystack 2.0: `haystack.agent.step.llm` and `.tool` instead of components."""
    tool = {"type": "haystack.tools.tool.Tool", "data": {**TOOL, "function": "app.calculator"}}
    asked: dict[str, Any] = {"role": "user", "meta": {}, "name": None, "content": [{"text": QUESTION}]}
    request = {"tool_name": "calculator", "arguments": ARGUMENTS, "id": "call_1"}
    meta = {
        "model": "gpt-4o-mini-2024-07-18",
        "finish_reason": "tool_calls",
        "usage": {"prompt_tokens": 101, "completion_tokens": 11},
    }
    reply = {"role": "assistant", "meta": meta, "name": None, "content": [{"tool_call": request}]}
    llm, step = "haystack.agent.step.llm", "haystack.agent.step.tool"
    failure = "Failed to invoke Tool `calculator` with parameters {'expression': '12*7'}. Error: out of paper"
    spans = [
        span("haystack.agent.run", end=9),
        span(
            llm,
            parent="haystack.agent.run",
            attributes={
                llm + ".input": dump({"messages": [asked], "tools": [tool]}),
                llm + ".output": dump({"replies": [reply]}),
            },
        ),
        span(
            step,
            parent="haystack.agent.run",
            start=2,
            attributes={
                "haystack.tool.name": "calculator",
                step + ".input": dump(ARGUMENTS),
                step + ".output": dump({"error": failure}),
            },
        ),
    ]

    dataset = run((spans, []))

    (call,) = calls_of(dataset)
    assert (call["tools"], call["input"]) == ([TOOL], [{"role": "user", "text": QUESTION}])
    assert call["output"][0]["tool_calls"] == [REQUEST]
    assert (call["model_returned"], call["usage"]["input_tokens"]) == ("gpt-4o-mini-2024-07-18", 101)
    (execution,) = tools_of(dataset)
    assert (execution["arguments"], execution["result"], execution["error"]) == (ARGUMENTS, None, "out of paper")


def test_strands_records_a_result_as_blocks() -> None:
    """Strands 1.62, latest conventions: Bedrock's blocks in the tool's result; definitions on the agent, if asked."""
    agent = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "strands-agents",
        "gen_ai.agent.name": "MathAgent",
        "gen_ai.agent.tools": dump(["calculator"]),
        "gen_ai.tool.definitions": dump([{"type": "function", **TOOL}]),
    }
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "strands-agents",
        "gen_ai.request.model": "gpt-4o-mini",
    }
    details = {
        "name": "gen_ai.client.inference.operation.details",
        "time_ns": START_NS,
        "attributes": {"gen_ai.input.messages": parts("user", {"type": "text", "content": QUESTION})},
    }
    execution = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.provider.name": "strands-agents",
        "gen_ai.tool.name": "calculator",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.call.arguments": dump(ARGUMENTS),
        "gen_ai.tool.call.result": dump([{"text": "84"}]),
        "gen_ai.tool.status": "success",
    }
    scope = "strands.telemetry.tracer"
    spans = [
        span("invoke_agent MathAgent", end=9, attributes=agent, scope=scope),
        span("chat", parent="invoke_agent MathAgent", attributes=chat, events=[details], scope=scope),
        span("execute_tool calculator", parent="invoke_agent MathAgent", start=2, attributes=execution, scope=scope),
    ]

    dataset = run((spans, []))

    (call,) = calls_of(dataset)
    assert (call["agent"], call["tools"]) == ("MathAgent", [TOOL])
    (tool,) = tools_of(dataset)
    assert (tool["result"], tool["arguments"]) == ("84", ARGUMENTS)


def test_a_request_with_holes_makes_no_transition() -> None:
    """LiteLLM 1.106, Responses API: tool calls and their results are recorded as empty texts of the user."""
    holes = [{"role": "user", "parts": [{"type": "text", "content": text}]} for text in (QUESTION, "", "")]
    attributes = {
        "gen_ai.operation.name": "responses",
        "llm.request.type": "chat",
        "openai.api.type": "responses",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.input.messages": dump(holes),
        "gen_ai.output.messages": parts("assistant", {"type": "text", "content": "84"}),
    }

    dataset = run(([span("litellm_request", attributes=attributes, scope="litellm")], []))

    assert [call["api"] for call in calls_of(dataset)] == ["responses"]
    assert dataset.counts["calls"]["transitions"] == 0


def test_spring_ai_has_tools_and_conversations_in_spans_of_its_own() -> None:
    """Spring AI 1 and 2, from its documentation: chat client around the conventions' calls, values written as text."""
    client = {
        "gen_ai.operation.name": "framework",
        "gen_ai.system": "spring_ai",
        "spring.ai.kind": "chat_client",
        "spring.ai.chat.client.conversation.id": "c-1",
        "spring.ai.chat.client.tool.names": '["calculator"]',
    }
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.temperature": "0.7",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": '["TOOL_CALLS"]',
        "gen_ai.usage.input_tokens": "101",
        "gen_ai.usage.output_tokens": "11",
    }
    tool = {
        "gen_ai.operation.name": "framework",
        "spring.ai.kind": "tool_call",
        "spring.ai.tool.definition.name": "calculator",
        "spring.ai.tool.call.id": "call_1",
        "spring.ai.tool.call.arguments": dump(ARGUMENTS),
        "spring.ai.tool.call.result": '"84"',
    }
    scope = "org.springframework.boot"
    spans = [
        span("spring_ai chat_client", end=9, attributes=client, scope=scope),
        span("chat gpt-4o-mini", parent="spring_ai chat_client", attributes=chat, scope=scope),
        span("tool_call calculator", parent="spring_ai chat_client", start=2, attributes=tool, scope=scope),
    ]

    dataset = run((spans, []))

    (call,) = calls_of(dataset)
    assert call["params"] == {"temperature": 0.7}
    assert call["output"][0]["finish_reason"] == "tool_calls"
    assert (call["usage"]["input_tokens"], call["response_id"]) == (101, "chatcmpl-1")
    (execution,) = tools_of(dataset)
    assert (execution["name"], execution["tool_call_id"]) == ("calculator", "call_1")
    assert (execution["arguments"], execution["result"]) == (ARGUMENTS, "84")


def test_langsmith_has_openai_agents_responses_in_pieces() -> None:
    """LangSmith 0.15, `OpenAIAgentsTracingProcessor`: items in the prompt and the completion, the rest as metadata."""
    own = {"langsmith.metadata.ls_integration": "openai-agents-sdk", "langsmith.metadata.output_type": "str"}
    chain = {"langsmith.span.kind": "chain", "gen_ai.operation.name": "chain", **own}
    item = {"type": "function_call", "call_id": "call_1", "name": "calculator", "arguments": dump(ARGUMENTS)}
    response = {
        "langsmith.span.kind": "llm",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.prompt": dump({"input": [{"role": "user", "content": QUESTION}], "instructions": "Be MathAgent."}),
        "gen_ai.completion": dump({"output": [item]}),
        "langsmith.metadata.object": "response",
        "langsmith.metadata.id": "resp_1",
        "langsmith.metadata.status": "completed",
        "langsmith.metadata.ls_model_name": "gpt-4o-mini-2024-07-18",
        **own,
    }
    generation = {
        "langsmith.span.kind": "llm",
        "gen_ai.operation.name": "chat",
        "gen_ai.prompt": dump({"input": [{"role": "user", "content": QUESTION}]}),
        "gen_ai.completion": dump({"role": "assistant", "content": "84"}),
        **own,
    }
    scope = "langsmith"

    by_response, by_chat = read(
        span("MathAgent", attributes=chain, scope=scope, end=9),
        span("Span", parent="MathAgent", attributes=chain, scope=scope, end=8),
        span("Response", parent="Span", attributes=response, scope=scope),
        span("Generation", parent="Span", attributes=generation, scope=scope, start=2),
    )

    assert (by_response["api"], by_response["response_id"], by_response["agent"]) == (
        "responses",
        "resp_1",
        "MathAgent",
    )
    assert by_response["output"][0]["tool_calls"] == [REQUEST]
    assert (by_response["model_requested"], by_response["model_returned"]) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert (by_chat["input"], by_chat["output"][0]["text"]) == ([{"role": "user", "text": QUESTION}], "84")
    assert by_chat["agent"] == "MathAgent"


def test_a_call_that_offered_no_tools_is_not_given_those_of_its_role() -> None:
    """AutoGen 0.7 with `reflect_on_tool_use`, Traceloop's openai 0.62 below: the summary is asked for without tools."""
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
    }
    asked = {"role": "user", "parts": [{"type": "text", "content": QUESTION}]}
    request = {"type": "tool_call", **REQUEST}
    used = {"role": "assistant", "parts": [request]}
    result = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "84"}]}
    acts = {
        **chat,
        "gen_ai.tool.definitions": dump([{"type": "function", **TOOL}]),
        "gen_ai.input.messages": dump([asked]),
        "gen_ai.output.messages": parts("assistant", request),
    }
    sums_up = {
        **chat,
        "gen_ai.input.messages": dump([asked, used, result]),
        "gen_ai.output.messages": parts("assistant", {"type": "text", "content": "84"}),
    }
    scope = "opentelemetry.instrumentation.openai.v1"
    run_of = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "MathAgent", "gen_ai.system": "autogen"}

    acting, summing_up = read(
        span("invoke_agent MathAgent", attributes=run_of, scope="autogen-core", end=9),
        span("openai.chat", parent="invoke_agent MathAgent", attributes=acts, scope=scope),
        span("openai.chat 2", parent="invoke_agent MathAgent", attributes=sums_up, scope=scope, start=2),
    )

    assert acting["tools"] == [TOOL]
    assert summing_up["tools"] is None


@pytest.mark.parametrize(("identifier", "api"), [("resp_1", "responses"), (None, None)])
def test_traceloop_calls_every_model_call_of_openai_agents_a_response(identifier: str | None, api: str | None) -> None:
    """Version 0.62.4 over openai-agents 0.24: a chat completion's span has that name too, and no response's id."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.input.messages": parts("user", {"type": "text", "content": QUESTION}),
        **({"gen_ai.response.id": identifier} if identifier else {}),
    }
    scope = "opentelemetry.instrumentation.openai_agents"

    (call,) = read({**span("openai.response", attributes=attributes, scope=scope), "scope_version": "0.62.4"})

    assert (call["api"], call["input"]) == (api, [{"role": "user", "text": QUESTION}])
