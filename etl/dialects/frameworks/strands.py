"""Strands Agents: Bedrock's content blocks as JSON in span events, or the conventions' parts in details events.

https://strandsagents.com/latest/documentation/docs/user-guide/observability-evaluation/traces/
"""

from typing import Any

from etl.dialects.conventions import genai
from etl.dialects.shapes.json_values import as_list, decode
from etl.dialects.shapes.messages.canonical import canonical_input, canonical_output
from etl.dialects.shapes.messages.tools import call_arguments, definitions, result_text
from etl.dialects.shapes.values import strings_of, text_of
from etl.dialects.shapes.wording import api_of_model
from etl.dialects.spans import AgentSpan, LlmCall, Message, Reading, Span, ToolCall

DIALECT = "strands"
SCOPE = "strands.telemetry.tracer"
SYSTEM = "strands-agents"
ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
OPENAI_REASONS = {"tool_use": "tool_calls", "end_turn": "stop", "max_tokens": "length"}
"""Strands says everything in Bedrock's words; behind an OpenAI model these were the provider's."""


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return span.scope == SCOPE or SYSTEM in (
        span.attributes.get("gen_ai.system"),
        span.attributes.get("gen_ai.provider.name"),
    )


def read(span: Span) -> Reading | None:
    """Read a model call, a tool execution or an agent; cycles repeat what these hold."""
    attributes = span.attributes
    operation = attributes.get(genai.OPERATION)
    if operation in genai.CALL_OPERATIONS or span.name == "Model invoke":
        return _read_call(span)
    if operation == "execute_tool" or span.name.startswith("Tool: "):
        return _read_tool(span)
    if operation in genai.AGENT_OPERATIONS or "gen_ai.agent.name" in attributes:
        names = strings_of(attributes, "gen_ai.agent.tools") or strings_of(attributes, "agent.tools")
        return AgentSpan(
            span,
            DIALECT,
            text_of(attributes, "gen_ai.agent.name", "agent.name"),
            text_of(attributes, "gen_ai.conversation.id", "session.id"),
            definitions(attributes.get("gen_ai.tool.definitions"))
            or [{"name": name, "description": None, "parameters": None} for name in names]
            or None,
            _system_prompt(span),
        )
    return None


def _system_prompt(span: Span) -> str | None:
    text = text_of(span.attributes, "system_prompt")
    for event in span.events if text is None else ():
        if event.get("name") == "gen_ai.system.message":
            text = _text(_content(event))
    return text


def _content(event: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    fields = event.get("attributes") or {}
    return decode(fields.get("content", fields.get("message")))


def _text(content: Any) -> str | None:  # noqa: ANN401
    messages = canonical_input([{"role": "system", "content": content}])
    return messages[0].get("text") if messages else None


def _read_call(span: Span) -> LlmCall:
    call = genai.read_call(span, DIALECT)
    call.provider = None  # never the provider's name
    if any(event.get("name") in ROLES for event in span.events):
        call.input, call.output = _messages(span, call)
    call.api = api_of_model(call.model_requested or call.model_returned)
    if call.api == "chat.completions":
        for message in call.output or ():
            message["finish_reason"] = OPENAI_REASONS.get(message["finish_reason"], message["finish_reason"])
    return call


def _messages(span: Span, call: LlmCall) -> tuple[list[Message] | None, list[Message] | None]:
    asked: list[Any] = []
    answers: list[Message] = []
    for event in span.events:
        role = ROLES.get(str(event.get("name")))
        if role is not None:
            asked.append({"role": role, "content": _content(event)})
        elif event.get("name") == "gen_ai.choice":
            fields = event.get("attributes") or {}
            answers = canonical_output(
                [{"role": "assistant", "content": decode(fields.get("message"))}], [fields.get("finish_reason")]
            )
    return canonical_input(asked) or call.input, answers or call.output


def _read_tool(span: Span) -> ToolCall:
    attributes = span.attributes
    tool = genai.read_tool(span, DIALECT)
    tool.name = text_of(attributes, "gen_ai.tool.name", "tool.name") or span.name.removeprefix("Tool: ")
    tool.tool_call_id = tool.tool_call_id or text_of(attributes, "tool.id")
    tool.parameters = decode(attributes.get("gen_ai.tool.json_schema"))
    result: str | None = None
    for event in span.events:
        fields = event.get("attributes") or {}
        if event.get("name") == "gen_ai.tool.message":
            tool.arguments = call_arguments(fields.get("content"))
            tool.tool_call_id = tool.tool_call_id or text_of(fields, "id")
        elif event.get("name") == "gen_ai.choice":
            result = _result(fields.get("message"))
        elif event.get("name") == genai.DETAILS_EVENT:
            for message in [
                *canonical_input(as_list(fields.get("gen_ai.input.messages")) or ()),
                *canonical_input(as_list(fields.get("gen_ai.output.messages")) or ()),
            ]:
                for request in message.get("tool_calls") or ():
                    tool.arguments = request["arguments"]
                result = message.get("text") if message["role"] == "tool" else result
    tool.arguments = tool.arguments or call_arguments(attributes.get("tool.parameters"))
    recorded = attributes.get("gen_ai.tool.call.result", attributes.get("tool.result"))
    result = result if result is not None else _result(recorded)
    status = text_of(attributes, "gen_ai.tool.status", "tool.status")
    if tool.error is None and status == "error":
        tool.error = result or "error"
    tool.result = result if tool.error is None else None
    return tool


def _result(recorded: Any) -> str | None:  # noqa: ANN401
    blocks = decode(recorded)
    if isinstance(blocks, list):
        messages = canonical_input([{"role": "user", "content": blocks}])
        return messages[0].get("text") if messages else None
    return result_text(recorded)
