"""OpenInference's libraries: attributes as they wrote them, where a first reading was wrong."""

from typing import Any

from etl.exports.export import decoded
from tests.conversation import ANSWER, ARGUMENTS, ASKED, QUESTION, REQUEST, SCHEMA, TOOL, TURNS, dump, run
from tests.spans import Span, span
from tests.unit.etl.dialects.reading import read


def openinference(library: str, name: str = "call", **attributes: Any) -> Span:
    """Return a model call of an OpenInference library; `__` in a name stands for a dot."""
    fields = {key.replace("__", "."): value for key, value in attributes.items()}
    return span(
        name,
        attributes={"openinference.span.kind": "LLM", **fields},
        scope=f"openinference.instrumentation.{library}",
    )


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
    assert call["api"] == "gemini"


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
