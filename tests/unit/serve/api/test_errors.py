"""Errors of engines come out in the one shape clients know."""

import json

import pytest

from serve.api.errors import rewritten


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (json.dumps({"error": {"message": "no", "type": "BadRequestError", "code": 400}}).encode(), "no"),
        (json.dumps({"object": "error", "message": "no", "code": 400}).encode(), "no"),
        (json.dumps({"error": "no"}).encode(), "no"),
        (json.dumps({"detail": "no"}).encode(), "no"),
        (b"404: Not Found", "the engine answered 404"),
        (b"[1]", "the engine answered 404"),
        (b"", "the engine answered 404"),
    ],
)
def test_whatever_an_engine_says_is_one_message(body: bytes, message: str) -> None:
    """vLLM, FastAPI, aiohttp and nothing at all."""
    error = rewritten(body, 404)["error"]

    assert error == {"message": message, "type": "invalid_request_error", "param": None, "code": None}


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 512 tokens. However, you requested 600 tokens",
        "The decoder prompt (length 600) is longer than the maximum model length of 512.",
    ],
)
def test_a_prompt_that_is_too_long_is_known_by_its_code(said: str) -> None:
    """LiteLLM and agent frameworks shorten the history when they see it."""
    error = rewritten(json.dumps({"error": {"message": said}}).encode(), 400)["error"]

    assert error["code"] == "context_length_exceeded"


def test_errors_of_the_server_are_the_servers() -> None:
    """Clients retry these and no others."""
    assert rewritten(b"", 503)["error"]["type"] == "server_error"
    assert rewritten(b"", 429)["error"]["type"] == "rate_limit_error"
