"""One episode as the agent plays it, without the agent: the same messages and tool, a model called in process.

The warm start teaches and measures through this, and the tests hold it against what the Agents SDK really sends.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from agent import INSTRUCTIONS, MAX_TURNS, calculator, evaluate
from agents.models.chatcmpl_converter import Converter
from problems import Problem, grade

Message = dict[str, Any]

TOOLS = [Converter.tool_to_openai(calculator)]

Complete = Callable[[Sequence[Sequence[Message]]], list[str]]
"""Answers a batch of conversations with the text the model sampled, `<tool_call>` included."""


def first_messages(problem: Problem) -> list[Message]:
    """Return what the agent sends first."""
    return [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": problem.text}]


def call_text(expression: str) -> str:
    """Return a call of the calculator as a Hermes model writes it, in the one form that renders back to itself."""
    call = {"name": "calculator", "arguments": {"expression": expression}}
    return f"<tool_call>{json.dumps(call, ensure_ascii=False)}</tool_call>"


def assistant_message(text: str) -> Message:
    """Return the message a Hermes tool parser makes of the sampled text."""
    try:
        calls = [json.loads(call) for call in re.findall(r"<tool_call>(.*?)(?:</tool_call>|$)", text, re.DOTALL)]
        functions = [
            {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)} for call in calls
        ]
    except (ValueError, KeyError, TypeError):
        functions = []
    if not functions:
        return {"role": "assistant", "content": text}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": f"call_{index}", "type": "function", "function": function}
            for index, function in enumerate(functions)
        ],
    }


def tool_message(call: Message) -> Message:
    """Return the calculator's answer to one call."""
    try:
        content = str(evaluate(json.loads(call["function"]["arguments"])["expression"]))
    except (ValueError, KeyError, TypeError, ArithmeticError):
        content = "An error occurred while running the tool. Please try again."
    return {"role": "tool", "tool_call_id": call["id"], "content": content}


def play(problems: Sequence[Problem], complete: Complete) -> list[float]:
    """Play one episode a problem, all side by side, and return their rewards.

    An episode ends with the first answer that calls no tool; one that is still calling after MAX_TURNS earns nothing.
    A call of a tool that does not exist ends it too, as in the Agents SDK.
    """
    rewards = [0.0] * len(problems)
    conversations = {index: first_messages(problem) for index, problem in enumerate(problems)}
    for _ in range(MAX_TURNS):
        if not conversations:
            break
        answers = complete(list(conversations.values()))
        for index, answer in zip(list(conversations), answers, strict=True):
            message = assistant_message(answer)
            calls = message.get("tool_calls", [])
            if not calls:
                rewards[index] = grade(answer, problems[index])
            if not calls or any(call["function"]["name"] != calculator.name for call in calls):
                del conversations[index]
            else:
                conversations[index] += [message, *(tool_message(call) for call in calls)]
    return rewards
