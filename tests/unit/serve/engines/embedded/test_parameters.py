"""Every parameter is honoured, or refused by name where it would mean something."""

from typing import Any

import pytest

from serve.engines.embedded.parameters import check_parameters, check_response_parameters
from serve.sampling import UnsupportedParameter


@pytest.mark.parametrize(
    "parameter",
    [
        {"frequency_penalty": 0.5},
        {"allowed_token_ids": [5]},
        {"functions": [{"name": "f"}]},
        {"min_tokens": 3},
        {"stop_token_ids": [2]},
        {"echo": 1},
        {"reasoning_effort": "high"},
        {"something_new": {"of": "tomorrow"}},
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(parameter: dict[str, Any]) -> None:
    """Known or unknown: an answer as if it had not been asked is a wrong one."""
    with pytest.raises(UnsupportedParameter, match=next(iter(parameter))):
        check_parameters({"model": "m", "messages": [], **parameter})


@pytest.mark.parametrize(
    "parameter",
    [
        {"frequency_penalty": 0.0},
        {"tool_choice": "auto"},
        {"something_new": None},
        {"user": "u", "metadata": {"a": "b"}, "store": True},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"parallel_tool_calls": True, "logit_bias": {}, "stop_token_ids": []},
    ],
)
def test_what_changes_nothing_passes(parameter: dict[str, Any]) -> None:
    """Frameworks send many of these with every call."""
    check_parameters({"model": "m", "messages": [], **parameter})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("background", True),
        ("response_format", {"type": "json_object"}),
        ("text.verbosity", {"text": {"verbosity": "low"}}),
        ("reasoning.effort", {"reasoning": {"effort": "high"}}),
        ("prompt", {"id": "pmpt_1"}),
        ("messages", []),
        ("truncation", "auto"),
        ("text", "short"),
    ],
)
def test_what_a_response_cannot_honour_is_refused_by_its_full_name(name: str, value: Any) -> None:
    """What is nested too; and what chat and plain completions have under a name means nothing here."""
    asked = value if "." in name else {name: value}

    with pytest.raises(UnsupportedParameter, match=f"^{name} "):
        check_response_parameters({"model": "m", "input": "a", **asked})


def test_what_changes_nothing_of_a_response_passes() -> None:
    """As openai-agents and the AI SDK send it."""
    check_response_parameters(
        {
            "model": "m",
            "input": "a",
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "text": {"format": {"type": "text"}, "verbosity": None},
            "reasoning": {"effort": None, "summary": "auto"},
            "truncation": "disabled",
            "tool_choice": "auto",
        }
    )
