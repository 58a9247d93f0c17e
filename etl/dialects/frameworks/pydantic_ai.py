"""Pydantic AI: the GenAI conventions from version 2 on; before, one event a message inside one JSON attribute.

https://ai.pydantic.dev/logfire/
"""

from etl.dialects.conventions import genai
from etl.dialects.shapes.json_values import as_list, decode
from etl.dialects.shapes.message_events import read_messages
from etl.dialects.shapes.messages.tools import call_arguments, definitions, result_text
from etl.dialects.shapes.values import integer_of, text_of, usage_of
from etl.dialects.shapes.wording import restore_wording
from etl.dialects.spans import AgentSpan, LlmCall, LogRecord, Reading, Span, ToolCall

DIALECT = "pydantic-ai"
SCOPE = "pydantic-ai"
AGENT_MARKS = ("all_messages_events", "pydantic_ai.all_messages", "final_result")
DETAILS = "gen_ai.usage.details."


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return span.scope == SCOPE


def read(span: Span) -> Reading | None:
    """Read a model call, a tool execution or an agent."""
    attributes = span.attributes
    operation = attributes.get(genai.OPERATION)
    if operation in genai.CALL_OPERATIONS:
        return _read_call(span)
    if operation in genai.AGENT_OPERATIONS or "agent_name" in attributes or any(m in attributes for m in AGENT_MARKS):
        name = text_of(attributes, "gen_ai.agent.name", "agent_name")
        return AgentSpan(span, DIALECT, name, text_of(attributes, "gen_ai.conversation.id"))
    if "gen_ai.tool.name" in attributes:
        return _read_tool(span)
    return None


def _read_call(span: Span) -> LlmCall:
    attributes = span.attributes
    call = genai.read_call(span, DIALECT)
    events = as_list(attributes.get("events"))
    if events and call.input is None and call.output is None:
        records = [LogRecord(str(event.get("event.name")), 0, event, {}) for event in events if isinstance(event, dict)]
        read_messages(call, records, genai.finish_reasons(attributes))
        restore_wording(call)
    request = decode(attributes.get("model_request_parameters"))
    if call.tools is None and isinstance(request, dict):
        listed = [*(request.get("function_tools") or ()), *(request.get("output_tools") or ())]
        call.tools = definitions(listed) if listed else None
    details = usage_of(
        cached_input_tokens=integer_of(attributes, DETAILS + "cached_tokens", DETAILS + "cache_read_tokens"),
        reasoning_tokens=integer_of(attributes, DETAILS + "reasoning_tokens"),
    )
    if call.usage is not None and details is not None:
        call.usage = {key: details[key] if count is None else count for key, count in call.usage.items()}
    return call


def _read_tool(span: Span) -> ToolCall:
    attributes = span.attributes
    tool = genai.read_tool(span, DIALECT)
    if tool.arguments is None:
        tool.arguments = call_arguments(attributes.get("tool_arguments"))
    if tool.result is None and tool.error is None:
        tool.result = result_text(attributes.get("tool_response"))
    return tool
