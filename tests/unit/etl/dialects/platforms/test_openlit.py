"""OpenLIT: attributes as it wrote them, where a first reading was wrong."""

from typing import Any

from etl.exports.export import decoded
from tests.conversation import ANSWER, ARGUMENTS, ASKED, dump, run
from tests.spans import Span, span
from tests.unit.etl.dialects.reading import read


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
