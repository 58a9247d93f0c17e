"""Every parameter is honoured, or refused by name where it would mean something."""

from typing import Any

import pytest

from serve.engines.embedded.parameters import check_parameters
from serve.sampling import UnsupportedParameter


@pytest.mark.parametrize(
    "parameter",
    [
        {"frequency_penalty": 0.5},
        {"response_format": {"type": "json_object"}},
        {"tool_choice": "required"},
        {"guided_choice": ["yes", "no"]},
        {"allowed_token_ids": [5]},
        {"functions": [{"name": "f"}]},
        {"min_tokens": 3},
        {"stop_token_ids": [2]},
        {"parallel_tool_calls": False},
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
