"""Every example is an unmodified agent, short, with the exact packages and variables, and in the table."""

import ast
from pathlib import Path

import pytest

from tests.frameworks.run import PAGE, names
from tests.frameworks.scripted import ANSWER, ARGUMENTS, TOOL, answer, stream

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("name", names())
def test_an_example_is_short_and_says_what_it_needs(name: str) -> None:
    """Under 40 lines, nothing of ours in it, and the receiver's address among its variables."""
    folder = EXAMPLES / name
    source = (folder / "agent.py").read_text()
    ast.parse(source)

    assert (folder / "requirements.txt").read_text().split()
    assert len(source.splitlines()) < 40
    assert "spanloop" not in source
    assert "otel_exporter" not in source
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318" in (folder / "environment").read_text().split()


def test_what_ran_is_an_example() -> None:
    """The page has no line of one that is gone."""
    shown = {line.split("[")[1].split("]")[0] for line in PAGE.read_text().splitlines() if line.startswith("| [")}

    assert shown <= set(names())


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/models/m:generateContent"]
)
def test_the_scripted_server_calls_the_tool_and_then_answers(path: str) -> None:
    """In every API, whole and streamed alike."""
    asked = {"tools": [{"name": TOOL, "functionDeclarations": [{"name": TOOL}]}], "stream": True}
    called, answered = answer(path, asked, 1), answer(path, {}, 2)

    for whole, said in ((called, str(ARGUMENTS["b"])), (answered, ANSWER)):
        assert said in str(whole)
        assert said in str(list(stream(path, whole, asked)))
