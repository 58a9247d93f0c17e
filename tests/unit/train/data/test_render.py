"""Rendering text: the model's own template, a prompt that is an exact beginning, an answer that reads back the same."""

import json
from pathlib import Path

import pytest

from tests.fakes import CHAT_TEMPLATE, END, byte_tokenizer
from train.data.forms import read_hermes
from train.data.logged import Render
from train.data.render import make_renderer

ASKED = json.dumps([{"role": "user", "text": "7 - 2?"}])
TOOLS = json.dumps([{"name": "calculator", "description": "Works it out.", "parameters": {}}])
"""As the transitions table has them."""
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


@pytest.mark.parametrize("written", ["{{ tool.function | tojson }}", "{{ tool | tojson }}"])
def test_tools_are_offered_as_a_request_offers_them(directory: Path, written: str) -> None:
    """A template that writes them whole writes what it does when an agent asks."""
    template = "{% for tool in tools or [] %}" + written + "{% endfor %}" + CHAT_TEMPLATE
    (directory / "chat_template.jinja").write_text(template)
    tool = {"name": "calculator", "description": "Works it out.", "parameters": {}}

    found = make_renderer(directory)(ASKED, TOOLS, json.dumps(CALLED))

    assert found is not None
    shown = json.loads(text_of(directory, found[0]).partition("<|")[0])
    assert shown in (tool, {"type": "function", "function": tool})


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
    assert read_hermes("<think>7 and 2</think>\n\n5") == ("7 and 2", "5", [])


FORMS = {
    "qwen3-coder": (
        "<tool_call>\n<function={{ call.function.name }}>\n{% for key, value in call.function.arguments.items() %}"
        "<parameter={{ key }}>\n{{ value }}\n</parameter>\n{% endfor %}</function>\n</tool_call>"
    ),
    "llama3": '{"name": "{{ call.function.name }}", "parameters": {{ call.function.arguments | tojson }}}',
    "mistral": (
        '[TOOL_CALLS] [{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}, '
        '"id": "abcdefghi"}]'
    ),
    "mistral since 2025": "[TOOL_CALLS]{{ call.function.name }}[ARGS]{{ call.function.arguments | tojson }}",
}


@pytest.mark.parametrize("form", FORMS)
def test_calls_read_back_in_the_form_the_template_writes(directory: Path, form: str) -> None:
    """Whatever the model's template writes, names and typed arguments are those that were sampled."""
    template = CHAT_TEMPLATE.replace(
        "{{ '<tool_call>' }}{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}"
        "{{ '</tool_call>' }}",
        FORMS[form],
    )
    assert template != CHAT_TEMPLATE
    (directory / "chat_template.jinja").write_text(template)
    render = make_renderer(directory)
    schema = {"type": "object", "properties": {"expression": {"type": "string"}, "digits": {"type": "integer"}}}
    tools = json.dumps([{"type": "function", "function": {"name": "calculator", "parameters": schema}}])
    call = {"id": "a", "name": "calculator", "arguments": {"expression": "7-2", "digits": 3}}

    found = render(ASKED, tools, json.dumps({"role": "assistant", "tool_calls": [call]}))

    assert found is not None
    assert render(ASKED, tools, json.dumps({"text": "5"})) is not None
    looks_alike = text_of(directory, found[1]).removesuffix("<|end|>")
    assert render(ASKED, tools, json.dumps({"text": looks_alike})) is None


def test_a_form_the_tokenizer_describes_is_read_by_its_description(directory: Path) -> None:
    """Even one nobody else writes."""
    template = CHAT_TEMPLATE.replace("'<tool_call>'", "'@call '").replace("'</tool_call>'", "'@end'")
    (directory / "chat_template.jinja").write_text(template)
    assert make_renderer(directory)(ASKED, TOOLS, json.dumps(CALLED)) is None
    described = {
        "start_anchor": "<|assistant|>",
        "fields": {
            "tool_calls": {
                "open": "@call ", "close": "@end", "repeats": True, "content": "json",
                "transform": {"type": "function", "function": "{content}"},
            },
            "content": {"close": "<|end|>", "content": "text"},
        },
    }  # fmt: skip
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"response_template": described}))

    assert make_renderer(directory)(ASKED, TOOLS, json.dumps(CALLED)) is not None
