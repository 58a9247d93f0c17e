"""OpenInference's numbered attributes, put together to messages again."""

import json
from typing import Any

import pytest

from etl.dialects.openinference import messages

IN = "llm.input_messages"


def message(number: int, **fields: Any) -> dict[str, Any]:
    """Return one message's attributes; `__` in a name stands for a dot."""
    return {f"{IN}.{number}.message.{name.replace('__', '.')}": value for name, value in fields.items()}


def block(number: int, position: int, **fields: Any) -> dict[str, Any]:
    start = f"{IN}.{number}.message.contents.{position}.message_content."
    return {start + name.replace("__", "."): value for name, value in fields.items()}


def test_blocks_are_the_content_where_there_is_no_text() -> None:
    """Calls of tools among them repeat what stands apart."""
    attributes = {
        **message(
            0, role="assistant", tool_calls__0__tool_call__id="c1", tool_calls__0__tool_call__function__name="look"
        ),
        **block(0, 0, type="text", text="Let me look."),
        **block(0, 1, type="tool_use", text="look"),
    }

    (read,) = messages.indexed_input(attributes) or ()

    assert (read["text"], [call["name"] for call in read["tool_calls"]]) == ("Let me look.", ["look"])


def test_a_text_stands_for_its_blocks_but_not_for_media() -> None:
    """Blocks of text repeat it; an image is more than it says."""
    texts = {**message(0, role="user", content="Well?"), **block(0, 0, type="text", text="Other?")}
    image = {**message(0, role="user", content="Well?"), **block(0, 0, type="image", image__image__url="data:,x")}

    assert [m["text"] for m in messages.indexed_input(texts) or ()] == ["Well?"]
    (shown,) = messages.indexed_input(image) or ()
    assert shown.get("parts")


def test_a_message_without_content_may_have_a_thought() -> None:
    """AutoGen's words beside its calls."""
    (read,) = (
        messages.indexed_output(
            {"llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.thought": "Hm."}
        )
        or ()
    )

    assert read["text"] == "Hm."


@pytest.mark.parametrize("numbers", [[0, 2], [1, 3, 4]])
def test_a_missing_message_in_the_middle_is_a_gap(numbers: list[int]) -> None:
    """Wherever the counting begins."""
    attributes = {name: value for number in numbers for name, value in message(number, role="user").items()}

    assert messages.has_gaps(attributes)
    assert not messages.has_gaps(
        {name: value for number in (3, 4) for name, value in message(number, role="user").items()}
    )
    assert not messages.has_gaps({})


def test_autogens_results_stand_in_fields_of_their_own() -> None:
    """Under either name; what is no JSON is the result's own text."""
    told = json.dumps({"content": "blue", "call_id": "c1", "name": "look"})
    attributes = {
        f"{IN}.0.message.function.0": told,
        f"{IN}.1.function.0": "grey",
        **message(2, role="user", content="So?"),
    }

    read = messages.indexed_input(attributes) or []

    assert [(m["role"], m["text"], m.get("tool_call_id")) for m in read] == [
        ("tool", "blue", "c1"),
        ("tool", "grey", None),
        ("user", "So?", None),
    ]


def test_prompts_are_texts_numbered_or_listed() -> None:
    """Those that are blank or hidden were not shown to anybody."""
    numbered = {"llm.prompts.0.prompt.text": "Well?", "llm.prompts.1.prompt.text": "__REDACTED__"}

    assert messages.indexed_prompts(numbered) == [{"role": "user", "text": "Well?"}]
    assert messages.indexed_prompts({"llm.prompts": ["Well?"]}) == [{"role": "user", "text": "Well?"}]
    assert messages.indexed_prompts({"llm.prompts": "Well?"}) is None
    assert messages.indexed_prompts({}) is None


@pytest.mark.parametrize(
    ("attributes", "texts"),
    [
        ({"llm.choices.0.completion.text": "a", "llm.choices.1.completion.text": "b"}, ["a", "b"]),
        ({"llm.choices.0.completion.text": "a", "llm.prompts": ["x"], "output.value": "whole"}, ["whole"]),
        ({"output.value": '[{"text": "a"}, "odd"]'}, ["a"]),
        ({"output.value": '[{"text": "a"'}, None),
        ({"output.value": "a"}, None),
    ],
)
def test_completions_are_texts_of_choices_or_of_the_output(attributes: dict[str, Any], texts: list[str] | None) -> None:
    """What was cut, and a text that nothing says is an answer, is none."""
    read = messages.indexed_completions(attributes)

    assert (None if read is None else [message["text"] for message in read]) == texts


def test_nothing_indexed_is_not_the_empty_conversation() -> None:
    """None says that nothing was recorded; a tool that cannot be read is left out."""
    assert messages.indexed_input({}) is None
    assert messages.indexed_output({}) is None
    assert messages.indexed_tools({}) is None
    assert messages.indexed_tools({"llm.tools.0.tool.json_schema": "no schema"}) is None
