"""Requests of one conversation are read to the same messages, whether they are read alone or one after the other."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from etl.dialects.shapes.messages.canonical import canonical_input
from etl.dialects.shapes.requests import RECENT, Requests

ITEMS = st.lists(
    st.one_of(
        st.builds(
            lambda role, text: {"role": role, "parts": [{"type": "text", "content": text}]},
            st.sampled_from(("system", "user", "assistant")),
            st.text(max_size=3),
        ),
        st.builds(lambda name: {"type": "function_call", "call_id": "c", "name": name, "arguments": "{}"}, st.text()),
        st.just({"type": "function_call_output", "call_id": "c", "output": "42"}),
        st.just({"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}),
        st.sampled_from((12, "12", None)),
    ),
    max_size=6,
)


@given(st.lists(ITEMS, max_size=3), st.integers(0, 4))
def test_a_growing_request_reads_as_if_it_were_the_first(parts: list[list[Any]], keep: int) -> None:
    """Whatever a request adds, also a tool call that belongs to the message before it, and whatever it takes away."""
    requests, items = Requests(), list[Any]()
    for part in parts:
        items = [*items, *part]
        for request in (items, items[:keep], items):
            assert requests.read(json.dumps(request)) == canonical_input(request)


def test_only_the_added_messages_are_read_again() -> None:
    """The earlier ones are the very same objects, so that a long conversation is read in linear time."""
    requests = Requests()
    first = requests.read('[{"role": "user", "content": "hi"}]')
    second = requests.read('[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]')

    assert first is not None
    assert second is not None
    assert second[0] is first[0]
    assert second[1] == {"role": "assistant", "text": "yes"}


def test_a_text_that_only_begins_alike_is_read_whole() -> None:
    """`[1` begins `[12]` too, and the array after a cut or broken text is no array."""
    requests = Requests()
    texts = (
        '[{"role": "user", "content": "a"}]',
        '[{"role": "user", "content": "a"} , {"role": "user"}]',
        "[1]",
        "[12]",
    )
    for text in texts:
        assert requests.read(text) == canonical_input(json.loads(text))
    for broken in (
        '[{"role": "user", "content": "a"}, {"ro]',
        '[{"role": "user", "content": "a"},]',
        "{}",
        "",
        "plain",
    ):
        assert requests.read(broken) is None


def test_many_conversations_at_once_are_only_slower() -> None:
    """More than are remembered take turns."""
    requests = Requests()
    for turn in range(1, 4):
        for number in range(RECENT + 2):
            items = [{"role": "user", "content": f"{number}.{step}"} for step in range(turn)]
            assert requests.read(json.dumps(items)) == canonical_input(items)
