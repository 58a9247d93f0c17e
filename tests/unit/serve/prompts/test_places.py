"""Where requests have their system message."""

from typing import Any

import pytest

from serve.prompts.places import has_begun, read_system, write_system

USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": [{"role": "system", "content": "s"}, USER]},
        {"messages": [{"role": "developer", "content": [{"type": "text", "text": "s", "x": 1}]}]},
        {"instructions": "s", "input": "hi"},
        {"input": [{"role": "system", "content": [{"type": "input_text", "text": "s"}]}, USER]},
    ],
)
def test_it_is_read_and_written_at_the_same_place(request_: dict[str, Any]) -> None:
    """Nothing else of the request changes, and the request itself stays as it is."""
    assert read_system(request_) == "s"
    changed = write_system(request_, "t")
    assert read_system(changed) == "t"
    assert write_system(changed, "s") == request_
    assert read_system(request_) == "s"


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"prompt": "s"},
        {"messages": []},
        {"messages": "s"},
        {"messages": ["s"]},
        {"messages": [USER, {"role": "system", "content": "s"}]},
        {"messages": [{"role": "system", "content": [{"text": "s"}, {"text": "t"}]}]},
        {"messages": [{"role": "system", "content": None}]},
        {"instructions": 3, "input": "hi"},
    ],
)
def test_where_there_is_none_none_is_found(request_: dict[str, Any]) -> None:
    """Plain completions, messages of another role, of several parts, of no shape at all."""
    assert read_system(request_) is None


def test_a_conversation_has_begun_once_somebody_answered() -> None:
    """In either API."""
    assert not has_begun({"messages": [USER]})
    assert has_begun({"messages": [USER, {"role": "assistant", "content": "a"}]})
    assert has_begun({"input": [USER, {"type": "function_call", "name": "f"}]})
    assert has_begun({"input": "hi", "previous_response_id": "r"})
