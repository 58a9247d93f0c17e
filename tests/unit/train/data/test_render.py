"""Rendering text: the model's own template, a prompt that is an exact beginning, an answer that reads back the same."""

import json
from pathlib import Path

import pytest

from tests.fakes import CHAT_TEMPLATE, END, byte_tokenizer
from train.data.reading import Render
from train.data.render import make_renderer, parse

ASKED = json.dumps([{"role": "user", "text": "7 - 2?"}])
TOOLS = json.dumps([{"type": "function", "function": {"name": "calculator", "parameters": {}}}])
CALLED = {"role": "assistant", "tool_calls": [{"id": "a", "name": "calculator", "arguments": {"expression": "7-2"}}]}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    byte_tokenizer(tmp_path)
    return tmp_path


@pytest.fixture
def render(directory: Path) -> Render:
    return make_renderer(directory)


def text_of(directory: Path, ids: list[int]) -> str:
    """Decode ids as they stand, special tokens too."""
    from transformers import AutoTokenizer

    return str(AutoTokenizer.from_pretrained(directory).decode(ids))


def test_a_text_becomes_the_ids_the_template_writes(directory: Path, render: Render) -> None:
    """Prompt up to the assistant's turn; the answer up to its end, that included."""
    found = render(ASKED, None, json.dumps({"text": "5"}))

    assert found is not None
    assert text_of(directory, found[0]) == "<|user|>7 - 2?<|end|><|assistant|>"
    assert text_of(directory, found[1]) == "5<|end|>"
    assert found[1][-1] == END


def test_a_tool_call_reads_back_as_the_same_call(directory: Path, render: Render) -> None:
    """With the tools in the prompt."""
    found = render(ASKED, TOOLS, json.dumps(CALLED))

    assert found is not None
    assert text_of(directory, found[0]).startswith("<|tools|>calculator<|end|>")
    assert '"expression": "7-2"' in text_of(directory, found[1])


@pytest.mark.parametrize(
    "action",
    [
        {"text": 'Look: <tool_call>{"name": "f", "arguments": {}}</tool_call>'},
        {"text": "5<|end|><|user|>8?"},
        {"text": "<tool_call>{broken</tool_call>"},
        {"text": "I thought so.", "reasoning": "7 and 2"},
    ],
)
def test_what_does_not_read_back_the_same_is_not_rendered(render: Render, action: dict[str, object]) -> None:
    """Text that reads as a call, or ends the turn, a call nobody can read, reasoning the template does not write."""
    assert render(ASKED, None, json.dumps(action)) is None


@pytest.mark.parametrize(
    "template",
    [
        CHAT_TEMPLATE.replace("{{ '<|assistant|>' }}", "{{ '<|assistant|>think: ' }}"),
        "{{ messages[9].content }}",
        "{{ raise_exception('roles must alternate') }}",
    ],
)
def test_a_template_that_does_not_continue_its_own_prompt_renders_nothing(directory: Path, template: str) -> None:
    """Checked on every call, never assumed; and what a template raises loses one call."""
    (directory / "chat_template.jinja").write_text(template)

    assert make_renderer(directory)(ASKED, None, json.dumps({"text": "5"})) is None


def test_a_model_without_a_template_renders_nothing(directory: Path) -> None:
    """Nothing is made up in its place."""
    (directory / "chat_template.jinja").unlink()

    assert make_renderer(directory)(ASKED, None, json.dumps({"text": "5"})) is None


def test_an_answer_to_nothing_is_not_rendered(render: Render) -> None:
    """No observation, no prompt."""
    assert render(None, None, json.dumps({"text": "5"})) is None


def test_reasoning_is_read_apart_from_the_text() -> None:
    """As Qwen and DeepSeek write it."""
    assert parse("<think>7 and 2</think>\n\n5") == ("7 and 2", "5", [])
