"""What a recorded request or response tells, in whichever client's words, and the counts of tokens."""

from dataclasses import dataclass, field
from typing import Any

from etl.dialects.shapes.messages.names import first
from etl.dialects.shapes.values import integer_of, usage_of
from etl.dialects.spans import Message


@dataclass(slots=True)
class Request:
    """What a recorded request tells."""

    api: str | None = None
    model: str | None = None
    input: list[Message] | None = None
    tools: list[dict[str, Any]] | None = None
    params: dict[str, Any] = field(default_factory=dict)
    streamed: bool | None = None


@dataclass(slots=True)
class Response:
    """What a recorded response tells."""

    api: str | None = None
    model: str | None = None
    response_id: str | None = None
    output: list[Message] | None = None
    usage: dict[str, int | None] | None = None
    instructions: str | None = None
    streamed: bool | None = None


def read_usage(value: Any) -> dict[str, int | None] | None:  # noqa: ANN401
    """Read a usage object of any of the APIs.

    >>> read_usage({"prompt_tokens": 3, "completion_tokens": 4})["output_tokens"]
    4
    """
    if not isinstance(value, dict):
        return None
    prompt = first(value, "prompt_tokens_details", "input_tokens_details", "input_token_details") or {}
    completion = first(value, "completion_tokens_details", "output_tokens_details", "output_token_details") or {}
    return usage_of(
        input_tokens=integer_of(value, "prompt_tokens", "input_tokens"),
        output_tokens=integer_of(value, "completion_tokens", "output_tokens"),
        cached_input_tokens=_first_count(
            integer_of(prompt, "cached_tokens", "cache_read"), integer_of(value, "cache_read_input_tokens")
        ),
        reasoning_tokens=integer_of(completion, "reasoning_tokens", "reasoning"),
    )


def _first_count(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)


def answer_signature(message: Message) -> str:
    """Return what an answer is known by within its trace: the ids of its tool calls, else its text."""
    identifiers = [str(request["id"]) for request in message.get("tool_calls") or () if request["id"]]
    return " ".join(identifiers) or message.get("text") or ""
