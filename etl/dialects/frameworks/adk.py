"""Google's Agent Development Kit: Gemini's own request and response as JSON (1.x), the GenAI conventions (2.x).

https://google.github.io/adk-docs/
"""

import json
from dataclasses import replace
from typing import Any

from etl.dialects.conventions import genai
from etl.dialects.shapes import gemini
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.canonical import canonical_output
from etl.dialects.shapes.messages.names import first
from etl.dialects.shapes.messages.tools import call_arguments, definitions, result_text
from etl.dialects.shapes.values import text_of
from etl.dialects.shapes.wording import api_of_model, plain_model
from etl.dialects.spans import AgentSpan, LlmCall, LogRecord, Reading, Span, ToolCall
from etl.dialects.structure.decoders import plain

DIALECT = "adk"
SCOPE = "gcp.vertex.agent"
PREFIX = "gcp.vertex.agent."
AGENT_RUN = "agent_run ["
ELIDED = "<elided>"
"""What log records have instead of a text that was not to be recorded."""

UNKNOWN_ID = "<not specified>"
"""What a tool's span has instead of an id."""

CONFIG_PARAMS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "max_output_tokens": "max_output_tokens",
    "stop_sequences": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return span.scope == SCOPE


def read(span: Span) -> Reading | None:
    """Read a model call, a tool execution or an agent."""
    attributes = span.attributes
    operation = attributes.get(genai.OPERATION)
    conversation = text_of(attributes, "gen_ai.conversation.id", PREFIX + "session_id")
    if span.name == "call_llm" or operation in genai.CALL_OPERATIONS:
        return _read_call(span, conversation)
    if operation == "execute_tool" or span.name.startswith("execute_tool "):
        return None if "(merged" in span.name else _read_tool(span)
    if operation == "invoke_agent" or span.name.startswith((AGENT_RUN, "invoke_agent ")):
        by_span = span.name.removeprefix(AGENT_RUN).removesuffix("]").removeprefix("invoke_agent ")
        return AgentSpan(span, DIALECT, text_of(attributes, "gen_ai.agent.name") or by_span or None, conversation)
    return None


def _read_call(span: Span, conversation: str | None) -> LlmCall:
    attributes = span.attributes
    call = genai.read_call(replace(span, logs=[record for record in span.logs if not _is_elided(record)]), DIALECT)
    call.conversation_id = call.conversation_id or conversation
    request = plain(decode(attributes.get(PREFIX + "llm_request")))  # Java's and Go's have other spellings
    response = plain(decode(attributes.get(PREFIX + "llm_response")))
    if isinstance(request, dict) and request:
        _add_request(call, request)
    if isinstance(response, dict) and response:
        _add_response(call, response)
    named = [name for name in (call.model_requested, call.model_returned) if name and "/" in name]
    call.model_requested, call.model_returned = plain_model(call.model_requested), plain_model(call.model_returned)
    if named or (call.model_requested or "").startswith("gpt-"):
        call.api = api_of_model(call.model_requested)
        call.provider = named[0].split("/")[0] if named else call.provider
        for message in call.output or ():
            reason = (message["finish_reason"] or "").lower() or None
            message["finish_reason"] = "tool_calls" if message["tool_calls"] and reason == "stop" else reason
            if message["finish_reason"] == "max_tokens":
                message["finish_reason"] = "length"
        if "max_output_tokens" in call.params:
            call.params["max_completion_tokens"] = call.params.pop("max_output_tokens")
    return call


def _is_elided(record: LogRecord) -> bool:
    return isinstance(record.body, dict) and record.body.get("content") == ELIDED


def _add_request(call: LlmCall, request: dict[str, Any]) -> None:
    config = request.get("config")
    config = config if isinstance(config, dict) else {}
    call.model_requested = text_of(request, "model") or call.model_requested
    call.tools = call.tools or gemini.lowered(definitions(config.get("tools")))
    for name, ours in CONFIG_PARAMS.items():
        if config.get(name) is not None:
            call.params.setdefault(ours, config[name])
    if "max_output_tokens" in call.params:  # the same, in the conventions' word
        call.params.pop("max_tokens", None)
    if call.input is None:
        asked = gemini.read_request(request)
        call.input = asked.input if asked is not None else None


def _add_response(call: LlmCall, response: dict[str, Any]) -> None:
    content = response.get("content")
    call.model_returned = call.model_returned or text_of(response, "model_version")
    reasons = genai.finish_reasons(call.span.attributes)
    reason = text_of(response, "finish_reason") or (reasons[0] if reasons else None)
    if call.output is None and isinstance(content, dict):
        answer = {"role": "assistant", "parts": content.get("parts") or []}
        call.output = canonical_output([answer], [reason])
    usage = response.get("usage_metadata")
    if call.usage is None and isinstance(usage, dict):
        call.usage = gemini.read_usage(usage)


def _read_tool(span: Span) -> ToolCall:
    attributes = span.attributes
    tool = genai.read_tool(span, DIALECT)
    tool.tool_call_id = None if tool.tool_call_id == UNKNOWN_ID else tool.tool_call_id
    if tool.arguments is None:
        tool.arguments = call_arguments(attributes.get(PREFIX + "tool_call_args"))
    if tool.error is None:
        recorded = first(dict(attributes), "gen_ai.tool.call.result", PREFIX + "tool_response")
        tool.result = unwrap(recorded)
    return tool


def unwrap(recorded: Any) -> str | None:  # noqa: ANN401
    """Return a tool's result without the object ADK puts around what is none.

    >>> unwrap('{"result": "84"}'), unwrap('{"celsius": 4}')
    ('84', '{"celsius": 4}')
    """
    value = decode(recorded)
    if isinstance(value, dict) and list(value) == ["result"]:
        return result_text(value["result"])
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return result_text(recorded)
