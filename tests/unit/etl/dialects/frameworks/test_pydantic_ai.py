"""Pydantic AI: attributes as it wrote them, where a first reading was wrong."""

from tests.spans import span
from tests.unit.etl.dialects.reading import read


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
