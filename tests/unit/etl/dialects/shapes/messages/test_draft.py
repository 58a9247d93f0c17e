"""The blocks of one message, sorted."""

import json

import pytest

from etl.dialects.shapes.messages.draft import draft_of


def test_calls_with_one_id_are_each_a_call() -> None:
    """Some servers give all calls of an answer the same id; a block repeated whole is one call."""
    calls = [
        {"id": "c", "type": "function", "function": {"name": "look", "arguments": json.dumps({"city": city})}}
        for city in ("Oslo", "Rome", "Rome")
    ]

    draft = draft_of({"role": "assistant", "content": None, "tool_calls": calls})

    assert [call["arguments"]["city"] for call in draft.calls] == ["Oslo", "Rome"]


@pytest.mark.parametrize(
    "item",
    [
        {"content": [{"type": "hologram", "data": "x"}]},
        {"content": "hi", "extra_tool_calls": [{"name": "look"}]},
        {"content": None, "tool_calls": [{"id": "c", "function": {"name": "look"}}]},
        {"content": None, "tool_calls": [{"id": "c", "function": {"name": "look", "arguments": '{"a":1}{"b":2}'}}]},
    ],
)
def test_what_nobody_understands_is_said(item: dict[str, object]) -> None:
    """A block of an unknown type, calls where nobody reads them, arguments that were lost or run together."""
    assert draft_of(item).is_unread


def test_thoughts_are_no_words_of_the_answer() -> None:
    """Gemini marks them by a flag, Anthropic by a type, OpenAI by a field beside the content."""
    draft = draft_of(
        {
            "content": [{"thought": True, "text": "a"}, {"type": "thinking", "thinking": "b"}, {"text": "c"}],
            "reasoning_content": "d",
        }
    )

    assert (draft.reasoning, draft.joined_text()) == (["a", "b", "d"], "c")


def test_blocks_without_a_type_are_known_by_their_key() -> None:
    """Genkit's thoughts are a text, its images a box."""
    image = {"media": {"url": "data:image/png;base64,AA", "contentType": "image/png"}}

    thought, seen = draft_of({"content": [{"reasoning": "Hm."}]}), draft_of({"content": [{"text": "What?"}, image]})

    assert (thought.reasoning, thought.text, thought.is_unread) == (["Hm."], [], False)
    assert (seen.media, seen.parts[1]["image_url"], seen.is_unread) == (
        ["image_url"], {"url": "data:image/png;base64,AA"}, False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "block",
    [
        {"toolResult": {"toolUseId": "c", "content": [{"text": "no quota"}], "status": "error"}},
        {"type": "tool_result", "tool_use_id": "c", "content": "no quota", "is_error": True},
        {"toolResult": {"toolUseId": "c", "content": [{"text": "fine"}], "status": "success"}},
    ],
)
def test_a_result_says_itself_whether_it_is_an_error(block: dict[str, object]) -> None:
    """Bedrock has a status for it, Anthropic a flag."""
    assert draft_of({"role": "user", "content": [block]}).failed == ({"c"} if "no quota" in str(block) else set())
