"""Every example is an unmodified agent, short, with the exact packages and variables, and in the table."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from serve.api.answers import Recording
from serve.api.responses import read
from tests.frameworks.environments import names
from tests.frameworks.run import ASPECTS, PAGE, lacks
from tests.frameworks.scripted import ANSWER, ARGUMENTS, TOKENS, TOOL, answer, stream

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("name", names())
def test_an_example_is_short_and_says_what_it_needs(name: str) -> None:
    """Under 40 lines, nothing of ours in it, and the receiver's address among its variables."""
    folder = EXAMPLES / name
    is_node = (folder / "package.json").exists()
    source = (folder / ("agent.ts" if is_node else "agent.py")).read_text()

    assert len(source.splitlines()) < 40
    assert "spanloop" not in source
    assert "otel_exporter" not in source
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318" in (folder / "environment").read_text().split()
    assert lacks(name) <= set(ASPECTS)
    if is_node:
        package = json.loads((folder / "package.json").read_text())
        assert all(re.fullmatch(r"[\d.]+", version) for version in package["dependencies"].values())
        assert {"agent.ts", "node"} <= set(package["scripts"]["start"].split())
    else:
        ast.parse(source)
        assert (folder / "requirements.txt").read_text().split()


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


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_the_scripted_server_tells_tokens_as_vllm_does(path: str) -> None:
    """Where it is asked to, and only there; whole and streamed alike, as the gateway reads them."""
    asked = {"return_token_ids": True, "enable_response_messages": True}
    whole, plain = answer(path, asked, 1), answer(path, {}, 1)
    pieces: list[dict[str, Any]] = [piece for piece in stream(path, whole, asked) if piece is not None]

    for answers in ([whole], pieces):
        recording = Recording()
        for one in answers:
            read(recording, one) if path.endswith("responses") else recording.read(one)
        assert recording.prompt_token_ids == TOKENS[0]
        assert recording.choices[0].token_ids == TOKENS[1]
        assert len(recording.choices[0].logprobs) == len(TOKENS[1])
    assert "token_ids" not in str(plain)
    assert "raw_message_tokens" not in str(plain)
