import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.engines.embedded.chat import BadConversation, ToolCallStream, parse_tool_calls, prepare_messages

CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


def test_messages_are_prepared_as_vllm_prepares_them() -> None:
    """Text parts joined, null content empty, tool arguments as objects."""
    prepared = prepare_messages(
        [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "2"},
        ]
    )

    assert prepared == [
        {"role": "user", "content": "a\nb"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "2"},
    ]


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        ["hello"],
        [{"content": "x"}],
        [{"role": "user", "content": [{"type": "image_url"}]}],
        [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
    ],
)
def test_malformed_messages_are_refused_without_quoting_them(messages: object) -> None:
    """The client learns which message is wrong; its text stays out of the error."""
    with pytest.raises(BadConversation, match="messages"):
        prepare_messages(messages)


def test_several_calls_and_an_unclosed_last_one_are_read() -> None:
    """As vLLM's Hermes parser: text before, then every call, the last one possibly cut off after its JSON."""
    content, calls = parse_tool_calls(f'Well.{CALL}\n<tool_call>{{"name": "g", "arguments": {{}}}}')

    assert content == "Well."
    assert [(call.name, call.arguments) for call in calls] == [("add", '{"a": 1}'), ("g", "{}")]


@pytest.mark.parametrize("text", ["<tool_call>{}</tool_call>", "<tool_call>[1]</tool_call>", f"{CALL}<tool_call>x"])
def test_a_malformed_call_makes_the_whole_answer_text(text: str) -> None:
    """Half of what a model meant is not what it meant."""
    assert parse_tool_calls(text) == (text, [])


@given(st.lists(st.sampled_from(["a", "<", "<tool", "_call>", CALL, "<tool_call>{", "</tool_call>", "\n"])))
def test_a_stream_says_what_the_whole_answer_says(pieces: list[str]) -> None:
    """However an answer is cut, the pieces sent on make up the same content and the same calls."""
    stream = ToolCallStream()

    sent = "".join(stream.add(piece) for piece in pieces)
    rest, calls = stream.finish()

    content, expected = parse_tool_calls("".join(pieces))
    if expected or "<tool_call>" not in "".join(pieces):
        assert sent + rest == (content or "")
    assert [(call.name, call.arguments) for call in calls] == [(call.name, call.arguments) for call in expected]
