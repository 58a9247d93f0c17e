"""The chat template of the small pretrained model: tools, calls and results, each turn a continuation of the last."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from serve.engines.embedded.chat import parse_tool_calls

TEMPLATE = Path(__file__).parents[3] / "examples" / "models" / "chat_template.jinja"
TOOL = {"type": "function", "function": {"name": "query", "parameters": {"type": "object", "properties": {}}}}


def render(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None, *, prompt: bool = True) -> str:
    rendered, _ = render_jinja_template(
        [messages], tools, chat_template=TEMPLATE.read_text(), add_generation_prompt=prompt
    )
    return rendered[0]


def test_without_tools_it_is_the_models_own_form():
    assert render([{"role": "user", "content": "Hi"}]) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_message_takes_the_tools_along(role):
    text = render([{"role": role, "content": "Be brief."}, {"role": "user", "content": "Hi"}], [TOOL])
    system = text.split("<|im_end|>")[0]
    assert system.startswith("<|im_start|>system\nBe brief.\n")
    assert json.dumps(TOOL["function"]) in system
    assert "SmolLM" not in text


@pytest.mark.parametrize("content", [None, "", "Let me look."])
@pytest.mark.parametrize("arguments", ['{"sql":"SELECT \\"a\\""}', {"sql": 'SELECT "a"'}])
def test_a_call_is_rendered_so_that_it_is_read_again(content, arguments):
    """Arguments that are text, as a client sends them back, stay as they were sampled, to the byte."""
    call = {"id": "1", "type": "function", "function": {"name": "query", "arguments": arguments}}
    prompt = [{"role": "user", "content": "Q"}]
    turn = [*prompt, {"role": "assistant", "content": content, "tool_calls": [call]}]
    answer = render(turn, [TOOL], prompt=False).removeprefix(render(prompt, [TOOL])).removesuffix("<|im_end|>\n")
    text, calls = parse_tool_calls(answer)
    assert (text or "").rstrip() == (content or "")
    [read] = calls
    assert (read.name, json.loads(read.arguments)) == ("query", {"sql": 'SELECT "a"'})
    assert render([*prompt, {**turn[1], "content": text}], [TOOL], prompt=False).endswith(answer + "<|im_end|>\n")
    assert not isinstance(arguments, str) or arguments in answer


def test_every_turn_begins_with_what_was_rendered_before():
    call = {"id": "1", "type": "function", "function": {"name": "query", "arguments": "{}"}}
    turns = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": None, "tool_calls": [call, call]},
        {"role": "tool", "tool_call_id": "1", "content": "3 rows"},
        {"role": "assistant", "content": "Three."},
        {"role": "user", "content": "And now?"},
    ]
    texts = [render(turns[: end + 1], [TOOL], prompt=False) for end in range(1, len(turns))]
    for earlier, later in itertools.pairwise(texts):
        assert later.startswith(earlier)
    assert "<tool_response>\n3 rows\n</tool_response>" in texts[-1]
