"""What an instrumentation worded its own way is put back into the provider's words."""

import pytest

from etl.dialects.shapes.wording import (
    api_of_model,
    names_a_stream,
    plain_model,
    provider_reason,
    restore_wording,
    uncached_usage,
    without_thoughts,
)
from tests.unit.etl.calls.made import said, seen


@pytest.mark.parametrize(
    ("reason", "api", "expected"),
    [
        ("tool_call", "chat.completions", "tool_calls"),
        ("FinishReason.TOOL_CALLS", "chat.completions", "tool_calls"),
        ("STOP", "chat.completions", "stop"),
        ("STOP", "gemini", "STOP"),
        ("length", "gemini", "MAX_TOKENS"),
        ("stop", "messages", "end_turn"),
        ("tool_calls", "responses", "completed"),
        ("pause_turn", "messages", "pause_turn"),
        (None, "messages", None),
        (3, None, None),
    ],
)
def test_reasons(reason: object, api: str | None, expected: str | None) -> None:
    """By API; a word that no instrumentation made up is the provider's own."""
    assert provider_reason(reason, api) == expected


def test_a_limit_has_the_name_that_the_api_gives_it() -> None:
    """Frameworks record `max_tokens` whatever they send."""
    named = {}
    for api, scope, provider in (
        ("chat.completions", "pydantic-ai", "openai"),
        ("chat.completions", "other", "openai"),
        ("responses", "other", "openai"),
        (None, "other", "gcp.gemini"),
    ):
        call = seen(scope=scope, api=api, provider=provider, params={"max_tokens": 9})
        restore_wording(call)
        named[api, scope] = list(call.params)

    assert named == {
        ("chat.completions", "pydantic-ai"): ["max_completion_tokens"],
        ("chat.completions", "other"): ["max_tokens"],
        ("responses", "other"): ["max_output_tokens"],
        (None, "other"): ["max_output_tokens"],
    }


def test_a_limit_that_is_told_already_is_not_told_twice() -> None:
    """The one that was sent stands."""
    call = seen(api="responses", params={"max_tokens": 9, "max_output_tokens": 8})
    call.output = [{**said("assistant", "4"), "finish_reason": "stop"}]
    restore_wording(call)

    assert call.params == {"max_output_tokens": 8}
    assert call.output[0]["finish_reason"] == "completed"


def test_counts_that_were_added_up_are_taken_apart_where_they_can_be() -> None:
    """Less than the cache's share was not the sum."""
    usage = {"input_tokens": 13, "cached_input_tokens": 2}
    assert uncached_usage(usage, 1) == {**usage, "input_tokens": 10}
    assert uncached_usage({**usage, "input_tokens": 1}, 1) == {**usage, "input_tokens": 1}
    assert uncached_usage(None, 1) is None
    assert without_thoughts({"output_tokens": 9, "reasoning_tokens": None}) == {
        "output_tokens": 9,
        "reasoning_tokens": None,
    }
    assert without_thoughts({"output_tokens": 1, "reasoning_tokens": 2}) == {"output_tokens": 1, "reasoning_tokens": 2}


def test_names_are_read_for_what_they_say_alone() -> None:
    """A slash is a route only after a provider's name; a stream is a word of its own."""
    assert [plain_model(name) for name in ("openai/gpt-4o", "org/model", None)] == ["gpt-4o", "org/model", None]
    assert [names_a_stream(name) for name in ("a.stream", "streamline", "GenerateStream", "downstream")] == [
        True,
        False,
        True,
        False,
    ]
    assert [api_of_model(name) for name in ("gpt-4o", "o3-mini", "claude-sonnet", "llama", None)] == [
        "chat.completions",
        "chat.completions",
        "messages",
        None,
        None,
    ]


def test_what_a_client_merges_is_one_message() -> None:
    """Smolagents sends what one role says at a stretch as one; OpenInference records it before that."""
    asked = [said("user", "Observation: 4"), said("user", "So?")]
    merged, kept = seen(0, "openinference.instrumentation.smolagents", input=asked), seen(1, input=asked)

    restore_wording(merged)
    restore_wording(kept)
    assert [message["text"] for message in merged.input or ()] == ["Observation: 4\nSo?"]
    assert kept.input == asked
