"""Instrumentation libraries: attributes as they wrote them over real clients, where a first reading was wrong."""

from typing import Any

import pytest

from etl.dialects.shapes.values import error_of
from etl.exports.export import decoded
from tests.conversation import ANSWER, ARGUMENTS, ASKED, QUESTION, REQUEST, SCHEMA, TOOL, TURNS, dump, run
from tests.spans import SECOND_NS, START_NS, Span, span
from tests.unit.etl.dialects.test_variants import record

Row = dict[str, Any]
LANGCHAIN = "openinference.instrumentation.langchain"
ANTHROPIC_CLIENT = "com.anthropic.sdk.python"


def openinference(library: str, name: str = "call", **attributes: Any) -> Span:
    """Return a model call of an OpenInference library; `__` in a name stands for a dot."""
    fields = {key.replace("__", "."): value for key, value in attributes.items()}
    return span(
        name,
        attributes={"openinference.span.kind": "LLM", **fields},
        scope=f"openinference.instrumentation.{library}",
    )


def read(*spans: Span) -> list[Row]:
    """Return the model calls in the order they began."""
    calls = run((list(spans), [])).tables["llm_calls"].sort("start_ns")
    return [decoded("llm_calls", row) for row in calls.iter_rows(named=True)]


def constructed(kind: str, **kwargs: Any) -> dict[str, Any]:
    """Return a message as LangChain's serialiser writes it."""
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": kwargs}


def langchain_call(message: dict[str, Any], *asked: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the attributes openinference-instrumentation-langchain 0.1.80 gives a model call."""
    messages = asked or (constructed("HumanMessage", content=QUESTION, type="human"),)
    return {
        "openinference.span.kind": "LLM",
        "input.value": dump({"messages": [list(messages)]}),
        "output.value": dump({"generations": [[{"message": message}]], "llm_output": None, "type": "LLMResult"}),
        **more,
    }


BLOCKS = {
    "anthropic": {"id": "call_1", "input": ARGUMENTS, "name": "calculator", "type": "tool_use"},
    "bedrock_converse": {"type": "tool_use", "name": "calculator", "input": ARGUMENTS, "id": "call_1"},
    "openai": {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "calculator",
        "arguments": dump(ARGUMENTS),
    },
}
METADATA: dict[str, dict[str, Any]] = {
    "anthropic": {"id": "msg_1", "stop_reason": "tool_use", "usage": {"input_tokens": 14, "output_tokens": 8}},
    "bedrock_converse": {"stopReason": "tool_use", "metrics": {"latencyMs": [3]}},
    "openai": {"id": "resp_1", "object": "response", "status": "completed"},
}


@pytest.mark.parametrize(
    ("provider", "api", "reason"),
    [
        ("anthropic", "messages", "tool_use"),
        ("bedrock_converse", None, "tool_use"),
        ("openai", "responses", "completed"),
    ],
)
def test_langchain_keeps_the_providers_blocks_beside_its_own_tool_calls(
    provider: str, api: str | None, reason: str
) -> None:
    """langchain-anthropic 1.7, -aws and -openai (Responses): one tool call, the API and reason of the provider."""
    asking = constructed(
        "AIMessage",
        content=[BLOCKS[provider]],
        response_metadata={"model_provider": provider, "model_name": "m", **METADATA[provider]},
        tool_calls=[{"name": "calculator", "args": ARGUMENTS, "id": "call_1", "type": "tool_call"}],
        usage_metadata={"input_tokens": 16, "output_tokens": 8},
        id="lc_run--01a1ff4c-cafe-7227-9714-44dcfc15c288-0",
    )
    history = (
        constructed("SystemMessage", content=ASKED[0]["text"]),
        constructed("HumanMessage", content=QUESTION),
        asking,
        constructed("ToolMessage", content="84", tool_call_id="call_1"),
    )

    first, second = read(
        span("ChatModel", attributes=langchain_call(asking), scope=LANGCHAIN),
        span(
            "again",
            attributes=langchain_call(constructed("AIMessage", content=ANSWER), *history),
            scope=LANGCHAIN,
            start=2,
        ),
    )

    assert first["output"][0]["tool_calls"] == [REQUEST]
    assert (first["api"], first["output"][0]["finish_reason"]) == (api, reason)
    assert first["streamed"] is False
    assert first["usage"]["input_tokens"] == (14 if provider == "anthropic" else 16)
    assert second["input"] == TURNS


def test_langchain_tells_of_several_answers_once_for_all() -> None:
    """langchain-openai 1.7 with n=2: id, model and counts are beside the generations."""
    answers = [
        constructed("AIMessage", content=text, response_metadata={"finish_reason": "stop"}) for text in ("One", "Two")
    ]
    whole = {
        "token_usage": {"prompt_tokens": 3, "completion_tokens": 4},
        "model_name": "gpt-4o-mini-2024-07-18",
        "id": "chatcmpl-1",
    }
    attributes = langchain_call(answers[0])
    attributes["output.value"] = dump(
        {"generations": [[{"message": answer} for answer in answers]], "llm_output": whole}
    )

    (call,) = read(span("ChatOpenAI", attributes=attributes, scope=LANGCHAIN))

    assert [message["text"] for message in call["output"]] == ["One", "Two"]
    assert (call["response_id"], call["model_returned"]) == ("chatcmpl-1", "gpt-4o-mini-2024-07-18")
    assert (call["api"], call["usage"]["output_tokens"]) == ("chat.completions", 4)


def test_what_langchain_itself_says_of_a_request() -> None:
    """langchain-ollama 1: model and temperature are nowhere but in LangChain's metadata."""
    message = constructed(
        "AIMessage", content="Hi.", response_metadata={"model_provider": "ollama", "done_reason": "stop"}
    )
    metadata = {"ls_provider": "ollama", "ls_model_name": "llama3.2", "ls_temperature": 0.5}

    (call,) = read(span("ChatOllama", attributes=langchain_call(message, metadata=dump(metadata)), scope=LANGCHAIN))

    assert (call["model_requested"], call["params"]) == ("llama3.2", {"temperature": 0.5})
    assert (call["api"], call["output"][0]["finish_reason"]) == (None, "stop")


def test_a_clients_bare_span_joins_the_stream_it_began_in() -> None:
    """langchain-anthropic 1.7 streams have no response id; the span of anthropic 2.12 beside it has no content."""
    message = constructed(
        "AIMessageChunk",
        content=ANSWER,
        response_metadata={"model_provider": "anthropic", "stop_reason": "end_turn"},
        usage_metadata={"input_tokens": 0, "output_tokens": 8},
    )
    asked = {"llm.invocation_parameters": dump({"model": "claude-sonnet-4-5"}), "llm.provider": "anthropic"}
    bare = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.response.id": "msg_1",
        "gen_ai.usage.input_tokens": 13,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.output_tokens": 8,
    }
    other = {**bare, "gen_ai.response.id": "msg_2", "gen_ai.usage.output_tokens": 9}

    joined, alone = read(
        span("root", end=20),
        span("chain", parent="root", end=5),
        span("ChatAnthropic", parent="chain", attributes=langchain_call(message, **asked), scope=LANGCHAIN, end=4),
        span("anthropic.messages.create", parent="root", attributes=bare, scope=ANTHROPIC_CLIENT, start=1, end=3),
        span("anthropic.messages.create 2", parent="root", attributes=other, scope=ANTHROPIC_CLIENT, start=6, end=7),
    )

    assert (joined["response_id"], joined["output"][0]["text"], joined["streamed"]) == ("msg_1", ANSWER, True)
    assert joined["usage"]["input_tokens"] == 11, "as Anthropic counts: without what its cache held"
    assert (alone["response_id"], alone["output"]) == ("msg_2", None)


def test_a_failed_call_of_anthropics_client_is_of_its_api() -> None:
    """openinference-instrumentation-anthropic 3.1: a request without system text looks like any other."""
    attributes = {
        "openinference.span.kind": "LLM",
        "llm.provider": "anthropic",
        "input.value": dump({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user"}]}),
    }

    (call,) = read(
        span(
            "messages.create",
            attributes=attributes,
            scope="openinference.instrumentation.anthropic",
            status="error",
            message="Error code: 429 - {'type': 'error', 'error': {'type': 'rate_limit_error', 'message': 'Slow.'}}",
        )
    )

    assert (call["api"], call["error"]["code"], call["error"]["message"]) == ("messages", "rate_limit_error", "Slow.")


def test_an_error_is_read_where_a_stack_trace_with_braces_follows_it() -> None:
    """openinference-instrumentation-langchain 0.1.80 puts exception and trace into one text."""
    body = "{'error': {'message': 'Slow down', 'type': 'requests', 'code': 'rate_limit'}}"
    message = f'OpenAIRateLimitError("Error code: 429 - {body}")Traceback:\n    call(**{{"a": 1}})\n'

    assert error_of(message) == {"http_status": 429, "code": "rate_limit", "message": "Slow down", "type": None}


def test_completions_are_read_too() -> None:
    """openinference-instrumentation-openai 0.1.66 over `client.completions`."""
    attributes = {
        "openinference.span.kind": "LLM",
        "input.value": dump({"model": "m", "prompt": QUESTION, "max_tokens": 5}),
        "output.value": dump(
            {
                "id": "cmpl-1",
                "object": "text_completion",
                "model": "m",
                "choices": [{"index": 0, "text": ANSWER, "finish_reason": "stop"}],
            }
        ),
    }

    (call,) = read(span("Completion", attributes=attributes, scope="openinference.instrumentation.openai"))

    assert call["api"] == "completions"
    assert call["input"] == [{"role": "user", "text": QUESTION}]
    assert (call["output"][0]["text"], call["output"][0]["finish_reason"]) == (ANSWER, "stop")


def test_bedrocks_own_words_are_read() -> None:
    """openinference-instrumentation-bedrock 0.1.61 over Converse: tools in a box, limits as Bedrock spells them."""
    (call,) = read(
        openinference(
            "bedrock",
            "bedrock.converse",
            llm__model_name="anthropic.claude-3-haiku-20240307-v1:0",
            llm__invocation_parameters=dump({"topP": 0.9, "maxTokens": 50, "stopSequences": ["END"]}),
            **{
                "input.value": dump([{"role": "user", "content": [{"text": QUESTION}]}]),
                "output.value": dump({"role": "assistant", "content": [{"text": ANSWER}]}),
                "llm.output_messages.0.message.role": "assistant",
                "llm.output_messages.0.message.content": ANSWER,
                "llm.tools.0.tool.json_schema": dump(
                    {"toolSpec": {**TOOL, "inputSchema": {"json": SCHEMA}, "parameters": None}}
                ),
            },
        )
    )

    assert (call["model_requested"], call["model_returned"]) == ("anthropic.claude-3-haiku-20240307-v1:0", None)
    assert call["params"] == {"top_p": 0.9, "max_tokens": 50, "stop": ["END"]}
    assert call["tools"] == [TOOL]


def test_botocore_says_what_the_service_said() -> None:
    """Its words are around the service's code and message."""
    words = (
        "An error occurred (ThrottlingException) when calling the Converse operation (reached max retries: 4): Wait."
    )

    assert error_of(words) == {"http_status": None, "code": "ThrottlingException", "message": "Wait.", "type": None}


CONTENTS = [
    {"parts": [{"text": QUESTION}], "role": "user"},
    {"parts": [{"function_call": {"args": ARGUMENTS, "name": "calculator"}}], "role": "model"},
    {"parts": [{"function_response": {"name": "calculator", "response": {"result": "84"}}}], "role": "user"},
]
GEMINI_ANSWER = {
    "candidates": [{"content": {"parts": [{"text": ANSWER}], "role": "model"}, "finish_reason": "STOP"}],
    "model_version": "gemini-2.5-flash-001",
    "response_id": "r1",
    "usage_metadata": {"prompt_token_count": 15, "candidates_token_count": 9, "thoughts_token_count": 1},
}
GEMINI_TURNS = [
    {"role": "user", "text": QUESTION},
    {"role": "assistant", "text": None, "tool_calls": [{"id": None, "name": "calculator", "arguments": ARGUMENTS}]},
    {"role": "tool", "text": '{"result": "84"}', "tool_call_id": "calculator"},
]


def test_geminis_request_and_response_are_read() -> None:
    """openinference-instrumentation-google-genai 1.4.14: the client's objects; it adds thoughts to the answer."""
    capitals = {"type": "OBJECT", "properties": {"expression": {"type": "STRING"}}, "required": ["expression"]}
    declared = {"name": "calculator", "description": "Evaluate.", "parameters": capitals}
    asked = {
        "contents": CONTENTS,
        "tools": [{"function_declarations": [declared]}],
        "generation_config": {"max_output_tokens": 50, "top_k": 5},
    }

    (call,) = read(
        openinference(
            "google_genai",
            "GenerateContentStream",
            input__value=dump(asked),
            output__value=dump(GEMINI_ANSWER),
            llm__token_count__completion=10,
        )
    )

    assert (call["input"], call["tools"]) == (GEMINI_TURNS, [TOOL])
    assert (call["response_id"], call["model_returned"], call["streamed"]) == ("r1", "gemini-2.5-flash-001", True)
    assert (call["output"][0]["text"], call["output"][0]["finish_reason"]) == (ANSWER, "STOP")
    assert (call["usage"]["output_tokens"], call["usage"]["reasoning_tokens"]) == (9, 1)
    assert call["api"] is None


def test_what_geminis_client_asked_by_itself_is_the_question() -> None:
    """google-genai calls Python functions and asks again within one call; the last request is in the response."""
    answer = {**GEMINI_ANSWER, "automatic_function_calling_history": CONTENTS}

    (call,) = read(
        openinference("google_genai", input__value=dump({"contents": CONTENTS[:1]}), output__value=dump(answer))
    )

    assert call["input"] == GEMINI_TURNS


def test_mistrals_objects_and_unset_parameters_are_read() -> None:
    """openinference-instrumentation-mistralai 2.2.2: an answer put back into the history is Python's repr of it."""
    printed = (
        "role='assistant' content=None tool_calls=[ToolCall(function=FunctionCall(name='calculator', "
        """arguments='{"expression": "12*7"}'), id='call_1', type='function', index=0)] prefix=False"""
    )
    system, user = ({"role": turn["role"], "content": turn["text"]} for turn in ASKED)
    tool = {"role": "tool", "tool_call_id": "call_1", "content": "84"}
    asked = {"model": "mistral-large", "messages": [system, user, printed, tool], "temperature": "", "random_seed": 3}
    chunk = {
        "id": "s1",
        "model": "mistral-large",
        "choices": [{"message": {"content": ANSWER}, "finish_reason": "stop"}],
    }

    (call,) = read(
        openinference(
            "mistralai",
            input__value=dump(asked),
            output__value=dump({"data": chunk}),
            **{
                f"llm.input_messages.{index}.message.{key}": value
                for index, message in ((0, system), (1, user), (3, tool))
                for key, value in message.items()
            },
        )
    )

    assert call["input"] == TURNS
    assert (call["params"], call["response_id"], call["output"][0]["text"]) == ({"seed": 3}, "s1", ANSWER)


def test_smolagents_keeps_the_clients_answer_in_pythons_repr() -> None:
    """openinference-instrumentation-smolagents 0.1.43: id, reason and counts; a tool's inputs are no arguments."""
    raw = (
        "ChatCompletion(id='chatcmpl-1', choices=[Choice(finish_reason='tool_calls', index=0, message="
        "ChatCompletionMessage(content=None, role='assistant', tool_calls=[ChatCompletionMessageFunctionToolCall("
        """id='call_1', function=Function(arguments='{"expression": "12*7"}', name='calculator'), """
        "type='function')]))], model='gpt-4o-mini-2024-07-18', object='chat.completion', "
        "usage=CompletionUsage(completion_tokens=8, prompt_tokens=12))"
    )
    attributes = {
        "openinference.span.kind": "TOOL",
        "tool.name": "calculator",
        "tool.parameters": dump({"expression": {"type": "string"}}),
        "input.value": dump({"args": ["12*7"], "sanitize_inputs_outputs": True, "kwargs": {}}),
        "output.value": "84",
    }
    spans = [
        openinference(
            "smolagents",
            llm__model_name="gpt-4o-mini",
            input__value=dump({"messages": ["ChatMessage(role=…)"], "stop_sequences": ["Observation:"]}),
            output__value=dump({"role": "assistant", "content": None, "raw": raw}),
        ),
        span("SimpleTool", attributes=attributes, scope="openinference.instrumentation.smolagents", start=2),
    ]

    dataset = run((spans, []))
    (call,) = (decoded("llm_calls", row) for row in dataset.tables["llm_calls"].iter_rows(named=True))
    (tool,) = (decoded("tool_calls", row) for row in dataset.tables["tool_calls"].iter_rows(named=True))

    assert (call["response_id"], call["model_returned"]) == ("chatcmpl-1", "gpt-4o-mini-2024-07-18")
    assert (call["output"][0]["tool_calls"], call["output"][0]["finish_reason"]) == ([REQUEST], "tool_calls")
    assert (call["params"], call["usage"]["output_tokens"]) == ({"stop": ["Observation:"]}, 8)
    assert (tool["arguments"], tool["result"]) == (ARGUMENTS, "84")


def test_litellms_own_ids_and_routes_are_left_out() -> None:
    """openinference-instrumentation-litellm 0.1.51: over Anthropic it makes an id up; models carry their route."""
    answer = {"id": "chatcmpl-0b5c1c53-43f0-4f0c-9d35-9b6d1f6b9a11", "choices": [{"message": {"content": ANSWER}}]}

    call, response = read(
        openinference("litellm", "completion", llm__model_name="anthropic/claude-4", output__value=dump(answer)),
        openinference(
            "litellm",
            "responses",
            llm__model_name="gpt-4o-mini-2024-07-18",
            output__value=dump([{"role": "assistant", "contents": [{"text": ANSWER, "type": "text"}]}]),
            **{"llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": ANSWER},
        ),
    )

    assert (call["model_requested"], call["response_id"]) == ("claude-4", None)
    assert (response["api"], response["model_returned"]) == ("responses", "gpt-4o-mini-2024-07-18")
    assert response["output"][0]["text"] == ANSWER


def test_a_span_translated_into_openinference_is_read_as_it_was_written() -> None:
    """openinference-instrumentation-pydantic-ai 0.1.30 adds its attributes to pydantic-ai's, with less in them."""
    own = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.output.messages": dump([{"role": "assistant", "parts": [{"type": "text", "content": ANSWER}]}]),
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o-mini",
        "output.value": ANSWER,
    }

    (call,) = read(span("chat gpt-4o-mini", attributes=own, scope="pydantic-ai"))

    assert (call["response_id"], call["model_returned"]) == ("chatcmpl-1", "gpt-4o-mini-2024-07-18")


def test_llamaindex_completes_a_prompt_and_wraps_what_tools_return() -> None:
    """openinference-instrumentation-llama-index 4.6.1: bare texts, and a tool's output with its input around it."""
    attributes = {
        "openinference.span.kind": "TOOL",
        "tool.name": "calculator",
        "tool.parameters": dump(SCHEMA),
        "input.value": dump({"kwargs": ARGUMENTS}),
        "output.value": dump({"blocks": [{"text": "84"}], "raw_output": 84, "is_error": False}),
        "output.mime_type": "application/json",
    }
    scope = "openinference.instrumentation.llama_index"
    spans = [
        openinference("llama_index", "OpenAI.complete", llm__prompts=[QUESTION], output__value=ANSWER),
        span("FunctionTool.call", attributes=attributes, scope=scope, start=2),
    ]

    dataset = run((spans, []))
    (call,) = (decoded("llm_calls", row) for row in dataset.tables["llm_calls"].iter_rows(named=True))
    (tool,) = (decoded("tool_calls", row) for row in dataset.tables["tool_calls"].iter_rows(named=True))

    assert call["input"] == [{"role": "user", "text": QUESTION}]
    assert call["output"][0]["text"] == ANSWER
    assert (tool["arguments"], tool["result"]) == (ARGUMENTS, "84")


ANTHROPIC_ASKED = {
    "max_tokens": 256,
    "model": "claude-sonnet-4-5",
    "system": ASKED[0]["text"],
    "messages": [{"role": "user", "content": QUESTION}],
}
ANTHROPIC_REPLY = {
    "message": {
        "role": "assistant",
        "tool_calls": [{"id": "call_1", "function": {"name": "calculator", "arguments": dump({"input": ARGUMENTS})}}],
    },
    "usage": {"input_tokens": 16, "cache_read_input_tokens": 2, "output_tokens": 8},
}


def test_logfires_first_version_keeps_request_and_answer_whole() -> None:
    """Logfire 5.2, `instrument_anthropic(version=1)`, as versions before 5 wrote: Anthropic's block as arguments."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5",
        "request_data": dump(ANTHROPIC_ASKED),
        "response_data": dump(ANTHROPIC_REPLY),
        "gen_ai.response.id": "msg_1",
        "gen_ai.usage.input_tokens": 18,
        "gen_ai.response.finish_reasons": dump(["tool_use"]),
    }

    (call,) = read(span("Message with {request_data[model]!r}", attributes=attributes, scope="logfire.anthropic"))

    assert call["input"] == ASKED
    assert (call["output"][0]["tool_calls"], call["output"][0]["finish_reason"]) == ([REQUEST], "tool_use")
    assert (call["api"], call["usage"]["input_tokens"], call["params"]) == ("messages", 16, {"max_tokens": 256})


def test_logfires_two_spans_of_a_stream_are_one_call() -> None:
    """Logfire 5.2: the request's span ends as the stream begins; a moment beside it tells what came, each its own."""
    asked = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini",
        "gen_ai.input.messages": dump([{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}]),
    }

    def told(text: str) -> dict[str, Any]:
        answer = {"role": "assistant", "parts": [{"type": "text", "content": text}], "finish_reason": "stop"}
        usage = {"prompt_tokens": 14, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 2}}
        return {
            **asked,
            "logfire.span_type": "log",
            "gen_ai.output.messages": dump([answer]),
            "gen_ai.usage.raw": dump(usage),
        }

    scope, name = "logfire.openai", "Chat Completion with {request_data[model]!r}"
    moment = "streaming response from {request_data[model]!r} took {duration:.2f}s"
    calls = read(
        span("root", end=9),
        span(name, parent="root", attributes=asked, scope=scope, start=1, end=2),
        span(moment, parent="root", attributes=told("One."), scope=scope, start=3, end=3),
        span(f"{name} ", parent="root", attributes=asked, scope=scope, start=4, end=5),
        span(f"{moment} ", parent="root", attributes=told("Two."), scope=scope, start=6, end=6),
    )

    assert [call["output"][0]["text"] for call in calls] == ["One.", "Two."]
    assert [call["streamed"] for call in calls] == [True, True]
    assert [call["model_returned"] for call in calls] == [None, None], "it repeats the model asked for"
    assert calls[0]["usage"]["cached_input_tokens"] == 2


def test_an_unknown_reason_is_no_error() -> None:
    """opentelemetry-instrumentation-genai-langchain 1.3b0 over the Responses API says `error` of a good answer."""
    answer = {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "error"}
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.id": "resp_1",
        "gen_ai.response.finish_reasons": ["error"],
        "gen_ai.output.messages": dump([answer]),
    }

    (call,) = read(span("chat", attributes=attributes, scope="opentelemetry.instrumentation.genai.langchain"))

    assert (call["output"][0]["text"], call["output"][0]["finish_reason"]) == (ANSWER, None)


def test_bedrocks_reasons_are_given_in_its_words() -> None:
    """opentelemetry-instrumentation-genai-bedrock 1.3b0 translates them."""
    answer = {"role": "assistant", "parts": [{"type": "tool_call", **REQUEST}], "finish_reason": "tool_call"}
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": "m",
        "gen_ai.output.messages": dump([answer]),
    }

    (call,) = read(span("chat m", attributes=attributes, scope="opentelemetry.instrumentation.genai.bedrock"))

    assert (call["output"][0]["finish_reason"], call["api"]) == ("tool_use", None)


def test_openlit_says_the_instructions_twice_and_parameters_nobody_set() -> None:
    """OpenLIT 1.45.0 over OpenAI's client: what its defaults are is no parameter, and the system text is one."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.temperature": 1.0,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.seed": 0,
        "gen_ai.request.max_tokens": -1,
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.input.messages": dump(
            [{"role": turn["role"], "parts": [{"type": "text", "content": turn["text"]}]} for turn in ASKED]
        ),
        "gen_ai.system_instructions": dump([{"type": "text", "content": ASKED[0]["text"]}]),
    }

    (call,) = read(span("chat gpt-4o-mini", attributes=attributes, scope="openlit.instrumentation.openai"))

    assert (call["input"], call["params"]) == (ASKED, {"top_p": 0.9})


def test_openlits_failed_call_has_nothing_but_its_name() -> None:
    """OpenLIT 1.45.0 over Anthropic's client sets no attribute of a call that failed."""
    (call,) = read(
        span(
            "chat claude-sonnet-4-5",
            scope="openlit.instrumentation.anthropic",
            status="error",
            message="RateLimitError: Error code: 429 - {'error': {'type': 'rate_limit_error', 'message': 'Slow.'}}",
        )
    )

    assert (call["model_requested"], call["error"]["http_status"], call["input"]) == ("claude-sonnet-4-5", 429, None)


def test_a_tools_message_is_read_as_pydantic_prints_it() -> None:
    """OpenLIT 1.45.0 over LangChain records the message around the result."""
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "calculator",
        "gen_ai.tool.call.arguments": str(ARGUMENTS),
        "gen_ai.tool.call.result": "content='84' name='calculator' tool_call_id='call_1'",
    }
    dataset = run(([span("execute_tool", attributes=attributes, scope="openlit.instrumentation.langchain")], []))

    (tool,) = (decoded("tool_calls", row) for row in dataset.tables["tool_calls"].iter_rows(named=True))

    assert (tool["arguments"], tool["result"]) == (ARGUMENTS, "84")


def stray(span_name: str, name: str, body: Any, at: float) -> dict[str, Any]:
    """Return a record of Traceloop's Anthropic instrumentation, written while its span lasts but naming another."""
    written_ns = START_NS + round(at * SECOND_NS)
    return {
        **record(span_name, name, body),
        "time_ns": None,
        "observed_ns": written_ns,
        "scope_name": "opentelemetry.instrumentation.anthropic",
    }


def test_messages_logged_on_the_span_around_are_the_calls() -> None:
    """opentelemetry-instrumentation-anthropic 0.62.4 in events mode does not make its span the current one."""
    scope = "opentelemetry.instrumentation.anthropic"
    call = {"gen_ai.provider.name": "anthropic", "gen_ai.operation.name": "chat"}
    tools = {"tools": [{"name": "calculator", "description": "Evaluate.", "input_schema": SCHEMA}]}
    asked = {"id": "call_1", "function": {"name": "calculator", "arguments": ARGUMENTS}, "type": "function"}
    spans = [
        span("root", end=9),
        span("one", parent="root", attributes=call, scope=scope, start=1, end=2),
        span("two", parent="root", attributes=call, scope=scope, start=3, end=4),
    ]
    logs = [
        stray("root", "gen_ai.system.message", {"content": ASKED[0]["text"]}, 1.1),
        stray("root", "gen_ai.user.message", {"content": QUESTION}, 1.2),
        stray("root", "gen_ai.user.message", {"content": tools}, 1.3),
        stray("root", "gen_ai.choice", {"message": {}, "finish_reason": "tool_call", "tool_calls": [asked]}, 1.9),
        stray("root", "gen_ai.choice", {"message": {"content": ANSWER}, "finish_reason": "stop"}, 3.9),
    ]

    rows = run((spans, logs)).tables["llm_calls"].sort("start_ns")
    first, second = (decoded("llm_calls", row) for row in rows.iter_rows(named=True))

    assert (first["input"], first["tools"]) == (ASKED, [TOOL])
    assert (first["output"][0]["tool_calls"], first["output"][0]["finish_reason"]) == ([REQUEST], "tool_use")
    assert (second["input"], second["output"][0]["text"]) == (None, ANSWER)


def test_messages_that_could_be_of_two_calls_are_nobodys() -> None:
    """Two calls lasted when the record was written: a guess would put words into the wrong one's mouth."""
    scope = "opentelemetry.instrumentation.anthropic"
    call = {"gen_ai.provider.name": "anthropic", "gen_ai.operation.name": "chat"}
    spans = [
        span("root", end=9),
        span("one", parent="root", attributes=call, scope=scope, start=1, end=3),
        span("two", parent="root", attributes=call, scope=scope, start=1, end=3),
    ]

    rows = run((spans, [stray("root", "gen_ai.user.message", {"content": QUESTION}, 2)])).tables["llm_calls"]

    assert rows["input"].to_list() == [None, None]


def test_results_tell_the_ids_of_a_responses_answer() -> None:
    """opentelemetry-instrumentation-openai 0.62.4 names a call by its item; a result does not."""
    call = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m"}
    item = {"type": "tool_call", **REQUEST, "id": "fc_1"}
    user = {"role": "user", "parts": [{"type": "text", "content": QUESTION}]}
    asking = {"role": "assistant", "parts": [item]}
    result = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "84"}]}
    scope = "opentelemetry.instrumentation.openai.v1"

    def turn(name: str, asked: list[Any], answer: Any, response_id: str, start: float) -> Span:
        fields = {
            **call,
            "gen_ai.response.id": response_id,
            "gen_ai.input.messages": dump(asked),
            "gen_ai.output.messages": dump([answer]),
        }
        return span(name, parent="root", attributes=fields, scope=scope, start=start)

    said = {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}]}
    first, second = read(
        span("root", end=9),
        turn("one", [user], asking, "resp_1", 1),
        turn("two", [user, asking, result], said, "resp_2", 3),
    )

    assert first["output"][0]["tool_calls"] == [REQUEST]
    assert second["input"] == TURNS[1:]


def test_traceloops_indexed_thoughts_and_penalties_are_read() -> None:
    """opentelemetry-instrumentation-anthropic and -openai 0.47.5: thoughts are a completion of their own."""
    attributes = {
        "gen_ai.system": "Anthropic",
        "llm.request.type": "completion",
        "gen_ai.request.model": "m",
        "llm.frequency_penalty": 0.1,
        "gen_ai.prompt.0.content": QUESTION,
        "gen_ai.completion.0.role": "thinking",
        "gen_ai.completion.0.content": "I weigh it.",
        "gen_ai.completion.0.finish_reason": "end_turn",
        "gen_ai.completion.1.role": "assistant",
        "gen_ai.completion.1.content": ANSWER,
    }

    (call,) = read(span("anthropic.chat", attributes=attributes, scope="opentelemetry.instrumentation.anthropic"))

    (answer,) = call["output"]
    assert (answer["text"], answer["reasoning"], answer["finish_reason"]) == (ANSWER, "I weigh it.", "end_turn")
    assert (call["params"], call["input"]) == ({"frequency_penalty": 0.1}, [{"role": "user", "text": QUESTION}])


def test_traceloops_dumps_of_blocks_are_no_text() -> None:
    """Traceloop 0.62.4 over LangChain's Responses and over Bedrock writes blocks it does not know as JSON."""
    block = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "calculator", "arguments": "{}"}
    thought = {"reasoningContent": {"reasoningText": {"text": "I weigh it.", "signature": "s"}}}
    parts = [{"type": "text", "content": dump(part)} for part in (block, thought)]
    answer = {"role": "assistant", "parts": [*parts, {"type": "tool_call", **REQUEST}], "finish_reason": "tool_call"}
    own = {"role": "assistant", "parts": [{"type": "text", "content": dump({"answer": 84})}]}
    fields = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}

    asking, answering = (
        read(
            span(
                "chat",
                attributes={**fields, "gen_ai.output.messages": dump([said])},
                scope="opentelemetry.instrumentation.langchain",
            )
            | {"scope_version": "0.62.4"}
        )[0]["output"][0]
        for said in (answer, own)
    )

    assert (asking["text"], asking["reasoning"], asking["tool_calls"]) == (None, "I weigh it.", [REQUEST])
    assert answering["text"] == dump({"answer": 84}), "a JSON answer stays the text it is"


def test_geminis_words_are_restored() -> None:
    """opentelemetry-instrumentation-google-genai 1.3b0 has the conventions' words, and thoughts among the answer."""
    capitals = {"type": "OBJECT", "properties": {"expression": {"type": "STRING"}}, "required": ["expression"]}
    answer = {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}
    attributes = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "gemini",
        "gen_ai.request.model": "gemini-2.5-flash",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.output.messages": dump([answer]),
        "gen_ai.tool.definitions": dump([{**TOOL, "type": "function", "parameters": capitals}]),
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.usage.reasoning.output_tokens": 1,
    }

    (call,) = read(span("generate_content", attributes=attributes, scope="opentelemetry.instrumentation.google_genai"))

    assert (call["output"][0]["finish_reason"], call["params"]) == ("STOP", {"max_output_tokens": 50})
    assert (call["tools"], call["usage"]["output_tokens"]) == ([TOOL], 8)


def test_each_block_of_anthropics_turns_is_read() -> None:
    """opentelemetry-instrumentation-anthropic 0.62.4 in events mode: a choice a block, the results in one message."""
    call = {"gen_ai.provider.name": "anthropic", "gen_ai.operation.name": "chat"}
    blocks = [{"type": "tool_result", "tool_use_id": f"call_{n}", "content": str(n)} for n in (1, 2)]
    asked = {"id": "call_3", "function": {"name": "calculator", "arguments": ARGUMENTS}, "type": "function"}
    logs = [
        record("chat", "gen_ai.user.message", {"content": blocks}),
        record(
            "chat", "gen_ai.choice", {"index": 0, "message": {"content": "One more."}, "finish_reason": "tool_call"}
        ),
        record(
            "chat", "gen_ai.choice", {"index": 1, "message": {}, "finish_reason": "tool_call", "tool_calls": [asked]}
        ),
    ]

    rows = run(([span("chat", attributes=call, scope="opentelemetry.instrumentation.anthropic")], logs))
    (read_call,) = (decoded("llm_calls", row) for row in rows.tables["llm_calls"].iter_rows(named=True))

    assert [message["tool_call_id"] for message in read_call["input"]] == ["call_1", "call_2"]
    (answer,) = read_call["output"]
    assert (answer["text"], [request["id"] for request in answer["tool_calls"]]) == ("One more.", ["call_3"])


def test_reasons_and_thoughts_beside_indexed_messages_are_read() -> None:
    """opentelemetry-instrumentation-cohere 0.62.4: reasons apart; -openai 0.47.5: reasoning under `llm.usage`."""
    attributes = {
        "gen_ai.system": "Cohere",
        "llm.request.type": "chat",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": ANSWER,
        "gen_ai.response.finish_reasons": ["COMPLETE"],
        "gen_ai.usage.completion_tokens": 8.0,
        "llm.usage.reasoning_tokens": 1,
    }

    (call,) = read(span("cohere.chat", attributes=attributes, scope="opentelemetry.instrumentation.cohere"))

    assert call["output"][0]["finish_reason"] == "COMPLETE"
    assert (call["usage"]["output_tokens"], call["usage"]["reasoning_tokens"]) == (8, 1)


def test_bedrocks_blocks_in_indexed_messages_are_read() -> None:
    """opentelemetry-instrumentation-bedrock 0.47.5 writes content as JSON, whether blocks or text; others' is text."""
    blocks = [[{"text": QUESTION}], [{"toolUse": {"toolUseId": "call_1", "name": "calculator", "input": ARGUMENTS}}]]
    fields = {"llm.request.type": "chat", "gen_ai.request.model": "m"}

    bedrock, quoting = (
        read(span("call", attributes={**fields, **own}, scope="opentelemetry.instrumentation.bedrock"))[0]
        for own in (
            {
                "gen_ai.system": "AWS",
                "gen_ai.prompt.0.role": "user",
                "gen_ai.prompt.0.content": dump(blocks[0]),
                "gen_ai.prompt.1.role": "assistant",
                "gen_ai.prompt.1.content": dump(blocks[1]),
                "gen_ai.prompt.2.role": "user",
                "gen_ai.prompt.2.content": dump("And?"),
            },
            {"gen_ai.system": "OpenAI", "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": dump("And?")},
        )
    )

    assert bedrock["input"] == [TURNS[1], TURNS[2], {"role": "user", "text": "And?"}]
    assert quoting["input"] == [{"role": "user", "text": '"And?"'}], "the user's own quotation marks"


def test_a_framework_that_words_its_answer_otherwise_is_no_second_call() -> None:
    """OpenLIT 1.45.0 over LangChain's Responses: the answer as Python's list, the client's span with its id below."""
    fields = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 13,
        "gen_ai.usage.output_tokens": 8,
    }

    def told(text: str) -> str:
        return dump([{"role": "assistant", "parts": [{"type": "text", "content": text}]}])

    outer = {**fields, "gen_ai.output.messages": told(f"[{{'text': '{ANSWER}'}}]")}
    inner = {**fields, "gen_ai.output.messages": told(ANSWER), "gen_ai.response.id": "resp_1"}
    other = {**inner, "gen_ai.usage.output_tokens": 9}

    def trace(name: str, below: dict[str, Any]) -> list[Span]:
        return [
            span(name, trace=name, attributes=outer, scope="openlit.instrumentation.langchain", end=4),
            span(f"{name} client", trace=name, parent=name, attributes=below, scope="openlit.instrumentation.openai"),
        ]

    assert [call["response_id"] for call in read(*trace("one", inner))] == ["resp_1"]
    assert len(read(*trace("two", other))) == 2, "other counts: it is another call"


def two_layers(outer: dict[str, Any], inner: dict[str, Any], *, apart: float = 0, status: str = "unset") -> list[Row]:
    """Return what is read of a framework's span and a client's beside it, beginning `apart` seconds after it."""
    start, end = (4 + apart, 6 + apart) if apart else (2, 3)
    failure = (
        {"status": status, "message": "Error code: 429 - {'error': {'message': 'Slow.'}}"} if status == "error" else {}
    )
    fields = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    asked = {"gen_ai.input.messages": dump([{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}])}
    return read(
        span("root", end=30),
        span(
            "outer",
            parent="root",
            attributes={**fields, **asked, **outer},
            scope="framework",
            start=1,
            end=4,
            **failure,
        ),
        span(
            "inner",
            parent="root",
            attributes={**fields, **asked, **inner},
            scope="client",
            start=start,
            end=end,
            **failure,
        ),
    )


def answer_of(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return the attribute of an answer."""
    return {"gen_ai.output.messages": dump([{"role": "assistant", "parts": list(parts)}])}


def test_a_failed_call_seen_by_framework_and_client_is_one() -> None:
    """OpenInference over LangChain and OpenAI's client: siblings, both with the question, neither with an id."""
    (call,) = two_layers({}, {}, status="error")

    assert (call["error"]["http_status"], call["error"]["message"]) == (429, "Slow.")


def test_a_lazy_streams_two_spans_are_one_call() -> None:
    """OpenInference over LlamaIndex and OpenAI's client: its span is over before anybody reads the stream."""
    said = {**answer_of({"type": "text", "content": ANSWER}), "gen_ai.request.stream": True}

    assert len(two_layers(said, {**said, "gen_ai.response.id": "chatcmpl-1"}, apart=0.5)) == 1
    assert len(two_layers(said, {**said, "gen_ai.response.id": "chatcmpl-1"}, apart=9)) == 2, "long after: asked again"


def test_an_item_id_does_not_part_two_layers() -> None:
    """Traceloop 0.62.4 over LangChain and OpenAI's Responses API: one names the call, the other the item."""
    asking = {"type": "tool_call", **REQUEST}

    calls = two_layers(answer_of(asking), {**answer_of({**asking, "id": "fc_1"}), "gen_ai.response.id": "resp_1"})

    assert [call["response_id"] for call in calls] == ["resp_1"]


def test_a_developers_message_is_an_event_of_its_own() -> None:
    """opentelemetry-instrumentation-openai-v2 2.4b0 names the event after whatever role the message has."""
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.system": "openai"}
    logs = [
        record("call", "gen_ai.developer.message", {"content": [{"type": "text", "text": ASKED[0]["text"]}]}),
        record("call", "gen_ai.user.message", {"content": QUESTION}),
    ]

    calls = run(([span("call", attributes=attributes)], logs)).tables["llm_calls"]

    assert decoded("llm_calls", calls.row(0, named=True))["input"] == ASKED
