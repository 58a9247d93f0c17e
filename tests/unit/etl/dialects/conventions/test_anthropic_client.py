"""The spans that Anthropic's client makes by itself."""

from tests.conversation import ANSWER, dump
from tests.spans import span
from tests.unit.etl.dialects.reading import constructed, langchain_call, read

LANGCHAIN = "openinference.instrumentation.langchain"

ANTHROPIC_CLIENT = "com.anthropic.sdk.python"


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
