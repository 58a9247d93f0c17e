"""Haystack's own tracer: what components were given and gave back, as JSON. Its scope is whatever the program passed.

From version 3 on, an agent's calls and tools have spans of their own instead of being components.
https://docs.haystack.deepset.ai/docs/tracing
"""

import re
from typing import Any

from etl.dialects.conventions import genai
from etl.dialects.shapes import client_dump, exchanges
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.canonical import canonical_input, canonical_output
from etl.dialects.shapes.messages.tools import call_arguments, definitions, result_text
from etl.dialects.shapes.values import error_of, text_of
from etl.dialects.shapes.wording import api_of_model
from etl.dialects.spans import AgentSpan, LlmCall, Message, Reading, Span, ToolCall

DIALECT = "haystack"
TYPE = "haystack.component.type"
TOOL_INVOKER = "ToolInvoker"
COMPONENT = "haystack.component"
AGENT_RUN = "haystack.agent.run"
AGENT_CALL = "haystack.agent.step.llm"
AGENT_TOOL = "haystack.agent.step.tool"
INVOCATION_FAILED = re.compile(r"^Failed to invoke Tool `.*\. Error: (.+)$", re.DOTALL)
"""What the model is told of a tool that failed; the tool's own words are at its end."""


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return TYPE in span.attributes or span.name in {AGENT_RUN, AGENT_CALL, AGENT_TOOL}


def read(span: Span) -> Reading | list[ToolCall] | None:
    """Read a generator as a model call, an agent, or the tool executions of one invoker."""
    attributes = span.attributes
    if span.name == AGENT_CALL:
        return _read_call(span, AGENT_CALL)
    if span.name == AGENT_TOOL:
        return _read_tool(span)
    kind = (text_of(attributes, TYPE) or "").rsplit(".", 1)[-1]
    if kind.endswith("Generator"):
        return _read_call(span, COMPONENT)
    if kind == TOOL_INVOKER:
        return _read_tools(span)
    if kind == "Agent":
        return AgentSpan(span, DIALECT, text_of(attributes, "haystack.component.name"))
    return None


def _fields(span: Span, name: str) -> dict[str, Any]:
    value = decode(span.attributes.get(name))
    return value if isinstance(value, dict) else {}


def _message(item: Any) -> dict[str, Any] | None:  # noqa: ANN401 - any JSON value
    """Return a chat message in one spelling: versions before 2.9 wrote `_role`, `_content` and `_meta`."""
    item = decode(item)
    if isinstance(item, str):
        return {"role": "assistant", "content": item, "meta": {}}
    if not isinstance(item, dict):
        return None
    return {
        "role": item.get("role", item.get("_role")),
        "content": item.get("content", item.get("_content")),
        "meta": item.get("meta", item.get("_meta")) or {},
    }


def _messages(items: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    found = [_message(item) for item in items] if isinstance(items, list) else []
    return [message for message in found if message is not None]


def _read_call(span: Span, prefix: str) -> LlmCall:
    given, gave = _fields(span, prefix + ".input"), _fields(span, prefix + ".output")
    call = LlmCall(span, DIALECT)
    asked = _messages(given.get("messages"))
    if not asked and isinstance(given.get("prompt"), str):
        asked = [{"role": "user", "content": given["prompt"]}]
    call.input = canonical_input(asked) or None
    call.params = client_dump.sampling_params(given.get("generation_kwargs"))
    call.tools = _tools(given.get("tools"))
    replies = _messages(gave.get("replies"))
    metas = [reply["meta"] for reply in replies]
    if isinstance(gave.get("meta"), list):
        metas = [meta for meta in gave["meta"] if isinstance(meta, dict)] or metas
    call.output = _answers(replies, metas)
    for meta in metas[:1]:
        call.model_returned = text_of(meta, "model")
        call.usage = exchanges.read_usage(meta.get("usage"))
        call.response_id = text_of(meta, "id")
        call.streamed = True if meta.get("completion_start_time") else None
    call.api = api_of_model(call.model_returned)
    if span.failed:
        call.error = error_of(_error(span))
        call.output = None
    return call


def _answers(replies: list[dict[str, Any]], metas: list[dict[str, Any]]) -> list[Message] | None:
    reasons = [text_of(meta, "finish_reason") for meta in metas]
    return canonical_output([{**reply, "role": "assistant"} for reply in replies], reasons) or None


def _tools(recorded: Any) -> list[dict[str, Any]] | None:  # noqa: ANN401
    tools = decode(recorded)
    items = tools if isinstance(tools, list) else [tools]
    flat: list[Any] = []
    for item in items:
        data = item.get("data") if isinstance(item, dict) else None
        inner = data.get("tools") if isinstance(data, dict) else None
        flat += inner if isinstance(inner, list) else [data or item]
    return definitions([entry.get("data") or entry for entry in flat if isinstance(entry, dict)])


def _error(span: Span) -> str | None:
    return span.status_message or genai.exception_message(span)


def _tools_words(told: str) -> str:
    match = INVOCATION_FAILED.match(told)
    return match.group(1) if match else told


def _read_tool(span: Span) -> ToolCall:
    attributes = span.attributes
    gave = _fields(span, AGENT_TOOL + ".output")
    error = (_error(span) or "error") if span.failed else None
    if list(gave) == ["error"] and isinstance(gave["error"], str):
        error = _tools_words(gave["error"])
    return ToolCall(
        span,
        DIALECT,
        name=text_of(attributes, "haystack.tool.name"),
        arguments=call_arguments(attributes.get(AGENT_TOOL + ".input")),
        result=result_text(attributes.get(AGENT_TOOL + ".output")) if error is None else None,
        error=error,
        description=text_of(attributes, "haystack.tool.description"),
    )


def _read_tools(span: Span) -> list[ToolCall]:
    given, gave = _fields(span, "haystack.component.input"), _fields(span, "haystack.component.output")
    found: list[ToolCall] = []
    for message in _messages(gave.get("tool_messages")):
        for block in message["content"] if isinstance(message["content"], list) else ():
            done = block.get("tool_call_result") if isinstance(block, dict) else None
            if isinstance(done, dict):
                origin = done.get("origin") or {}
                text = done.get("result") if isinstance(done.get("result"), str) else None
                tool = ToolCall(span, DIALECT, origin.get("tool_name"), origin.get("id"), origin.get("arguments"))
                if done.get("error"):
                    tool.error = _tools_words(text or "error")
                else:
                    tool.result = text
                found.append(tool)
    if found or not span.failed:
        return found
    requests = [request for message in canonical_input(_messages(given.get("messages"))) for request in _calls(message)]
    return [
        ToolCall(span, DIALECT, r["name"], r["id"], r["arguments"], error=_error(span) or "error") for r in requests
    ]


def _calls(message: Message) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = message.get("tool_calls") or []
    return calls
