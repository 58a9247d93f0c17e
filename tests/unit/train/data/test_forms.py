"""The form in which a template writes tool calls is found by having it write one, and read as strictly."""

import json
from typing import Any

import pytest

from train.data.forms import choose_reader, read_hermes

ARGUMENTS = {"city": "Bern", "days": 3}


def writer(form: str) -> Any:
    """Return a template that writes calls in one form; `{name}` and `{arguments}` stand for theirs."""

    def write(message: dict[str, Any], _: list[dict[str, Any]]) -> str | None:
        [call] = message["tool_calls"]
        function = call["function"]
        return form.replace("{name}", function["name"]).replace("{arguments}", json.dumps(function["arguments"]))

    return write


HERMES = '<tool_call>{"name": "{name}", "arguments": {arguments}}</tool_call>'


@pytest.mark.parametrize(
    "form",
    [
        HERMES,
        '{"name": "{name}", "parameters": {arguments}}',
        '[TOOL_CALLS] [{"name": "{name}", "arguments": {arguments}}]',
        "[TOOL_CALLS]{name}[ARGS]{arguments}",
    ],
)
def test_a_form_that_is_known_is_read_back(form: str) -> None:
    """What the model writes in it later, too; torn, it is no call."""
    read = choose_reader(writer(form), None)
    text = form.replace("{name}", "add").replace("{arguments}", '{"x": [1, 2]}')

    assert read(text, None) == ("", "", [("add", {"x": [1, 2]})])
    assert read(text[:-9], None) != ("", "", [("add", {"x": [1, 2]})])


def test_a_form_that_nobody_knows_is_left_to_hermes() -> None:
    """Its calls do not read back; its text does."""
    assert choose_reader(writer("CALL {name} WITH {arguments}"), None) is read_hermes
    assert choose_reader(lambda *_: None, {"nonsense": 1}) is read_hermes
    assert read_hermes("CALL add") == ("", "CALL add", [])


def test_hermes_form_is_read_as_a_parser_of_tools_reads_it() -> None:
    """Several calls, thoughts before them, words between."""
    call = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'

    assert read_hermes(f"<think> so </think>One.{call}{call}") == ("so", "One.", [("f", {"a": 1})] * 2)
    for broken in ('<tool_call>{"name": "f"}</tool_call>', "<tool_call>f(1)</tool_call>", "<tool_call>[]</tool_call>"):
        assert read_hermes(broken) is None
