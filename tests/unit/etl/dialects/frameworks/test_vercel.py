"""The AI SDK: attributes as it wrote them, where a first reading was wrong."""

from tests.conversation import ARGUMENTS, QUESTION, REQUEST, SCHEMA, TOOL, dump, run
from tests.spans import span
from tests.unit.etl.dialects.reading import calls_of, parts, read, tools_of


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
