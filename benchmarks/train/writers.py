"""A model call as three instrumentations write it: OpenTelemetry's GenAI conventions, OpenInference, Traceloop."""

import json
from collections.abc import Callable
from typing import Any

Message = dict[str, Any]
"""In the shape of OpenAI's chat API."""

Attributes = dict[str, Any]
Writer = Callable[[list[Message], list[Message], Message], Attributes]
"""What was asked, the tools on offer, and the answer, to the attributes of a span."""

MODEL = "scripted-teacher"


def genai(asked: list[Message], tools: list[Message], answer: Message) -> Attributes:
    """Return the attributes of the GenAI conventions of 2025."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": MODEL,
        "gen_ai.response.finish_reasons": [_finish(answer)],
        "gen_ai.input.messages": json.dumps([_parts(message) for message in asked]),
        "gen_ai.output.messages": json.dumps([_parts(answer) | {"finish_reason": _finish(answer)}]),
        "gen_ai.tool.definitions": json.dumps([{"type": "function", **tool["function"]} for tool in tools]),
    }


def openinference(asked: list[Message], tools: list[Message], answer: Message) -> Attributes:
    """Return the attributes of OpenInference."""
    found: Attributes = {"openinference.span.kind": "LLM", "llm.model_name": MODEL, "llm.provider": "openai"}
    for side, messages in (("input", asked), ("output", [answer])):
        for number, message in enumerate(messages):
            place = f"llm.{side}_messages.{number}.message"
            found[f"{place}.role"] = message["role"]
            if message.get("content"):
                found[f"{place}.content"] = message["content"]
            if message.get("tool_call_id"):
                found[f"{place}.tool_call_id"] = message["tool_call_id"]
            for index, call in enumerate(message.get("tool_calls") or ()):
                at = f"{place}.tool_calls.{index}.tool_call"
                found[f"{at}.id"] = call["id"]
                found[f"{at}.function.name"] = call["function"]["name"]
                found[f"{at}.function.arguments"] = call["function"]["arguments"]
    found |= {f"llm.tools.{index}.tool.json_schema": json.dumps(tool) for index, tool in enumerate(tools)}
    return found | {"llm.finish_reason": _finish(answer)}


def traceloop(asked: list[Message], tools: list[Message], answer: Message) -> Attributes:
    """Return the attributes of Traceloop's instrumentation of OpenAI's client."""
    found: Attributes = {
        "gen_ai.system": "openai",
        "llm.request.type": "chat",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": MODEL,
    }
    for side, messages in (("prompt", asked), ("completion", [answer])):
        for number, message in enumerate(messages):
            place = f"gen_ai.{side}.{number}"
            found[f"{place}.role"] = message["role"]
            if message.get("content"):
                found[f"{place}.content"] = message["content"]
            if message.get("tool_call_id"):
                found[f"{place}.tool_call_id"] = message["tool_call_id"]
            for index, call in enumerate(message.get("tool_calls") or ()):
                found[f"{place}.tool_calls.{index}.id"] = call["id"]
                found[f"{place}.tool_calls.{index}.name"] = call["function"]["name"]
                found[f"{place}.tool_calls.{index}.arguments"] = call["function"]["arguments"]
    found["gen_ai.completion.0.finish_reason"] = _finish(answer)
    for index, tool in enumerate(tools):
        found[f"llm.request.functions.{index}.name"] = tool["function"]["name"]
        found[f"llm.request.functions.{index}.description"] = tool["function"].get("description", "")
        found[f"llm.request.functions.{index}.parameters"] = json.dumps(tool["function"]["parameters"])
    return found


WRITERS: dict[str, Writer] = {
    "opentelemetry.instrumentation.genai.openai": genai,
    "openinference.instrumentation.openai": openinference,
    "opentelemetry.instrumentation.openai.v1": traceloop,
}
"""By the scope they write."""


def _finish(answer: Message) -> str:
    return "tool_calls" if answer.get("tool_calls") else "stop"


def _parts(message: Message) -> dict[str, Any]:
    if message["role"] == "tool":
        part = {"type": "tool_call_response", "id": message["tool_call_id"], "response": message["content"]}
        return {"role": "tool", "parts": [part]}
    parts: list[dict[str, Any]] = []
    if message.get("content"):
        parts.append({"type": "text", "content": message["content"]})
    parts += [
        {
            "type": "tool_call",
            "id": call["id"],
            "name": call["function"]["name"],
            "arguments": json.loads(call["function"]["arguments"]),
        }
        for call in message.get("tool_calls") or ()
    ]
    return {"role": message["role"], "parts": parts}
