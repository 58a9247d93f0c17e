"""What the warm start takes for a tool call is what vLLM's Hermes parser takes for one."""

import importlib.util
import json
import subprocess
import sys

import pytest
from episode import TOOLS, assistant_message, call_text
from warm_start import HERE

pytestmark = [
    pytest.mark.integration,
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make setup-vllm"),
]

PARSE = """
import importlib.metadata, json, sys
from serve.engines.vllm_server import version
importlib.metadata.version = version
from transformers import AutoTokenizer
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser

policy, tools, texts = sys.argv[1], *map(json.loads, sys.argv[2:])
parser = Hermes2ProToolParser(AutoTokenizer.from_pretrained(policy))
request = ChatCompletionRequest(model="m", messages=[{"role": "user", "content": "?"}], tools=tools)
parsed = [parser.extract_tool_calls(text, request) for text in texts]
print("ANSWER" + json.dumps([
    [answer.content, [[call.function.name, call.function.arguments] for call in answer.tool_calls]] for answer in parsed
]))
"""

TEXTS = [
    call_text("3+4"),
    call_text("é"),
    '<tool_call>{"name": "calculator", "arguments": {"expression": "3+4"}}',
    '<tool_call>{"name": "calculator", "arguments": {"expression": 3+4}}</tool_call>',
    '<tool_call>{"name": "calculator"}</tool_call>',
    call_text("3+4") + call_text("5+6"),
    "The answer is 7.",
]


@pytest.mark.long
def test_vllm_reads_the_same_calls() -> None:
    """Whole, unfinished, broken, doubled or none: the same names, the same arguments to the letter."""
    command = [sys.executable, "-c", PARSE, str(HERE / "policy"), json.dumps(TOOLS), json.dumps(TEXTS)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    [line] = [line for line in result.stdout.splitlines() if line.startswith("ANSWER")]

    messages = [assistant_message(text) for text in TEXTS]
    ours = [
        [
            message["content"],
            [[call["function"]["name"], call["function"]["arguments"]] for call in message.get("tool_calls", [])],
        ]
        for message in messages
    ]
    assert json.loads(line.removeprefix("ANSWER")) == ours
