"""Spring AI: its own spans around the conventions' model calls, which hold no messages: tools and chat clients.

https://docs.spring.io/spring-ai/reference/observability/
"""

from etl.dialects.conventions import genai
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.tools import call_arguments, definition, encoded_result
from etl.dialects.shapes.values import strings_of, text_of
from etl.dialects.spans import AgentSpan, Reading, Span, ToolCall

DIALECT = "spring-ai"
KIND = "spring.ai.kind"
TOOL = "spring.ai.tool."
CLIENT = "spring.ai.chat.client."


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return KIND in span.attributes


def read(span: Span) -> Reading | None:
    """Read a tool execution, or a chat client as the agent it is; advisors and stores are none."""
    attributes = span.attributes
    kind = attributes[KIND]
    if kind == "tool_call":
        failure = span.status_message or genai.exception_message(span) or "error"
        return ToolCall(
            span,
            DIALECT,
            name=text_of(attributes, TOOL + "definition.name"),
            tool_call_id=text_of(attributes, TOOL + "call.id"),
            arguments=call_arguments(attributes.get(TOOL + "call.arguments")),
            result=None if span.failed else encoded_result(attributes.get(TOOL + "call.result")),
            error=failure if span.failed else None,
            description=text_of(attributes, TOOL + "definition.description"),
            parameters=decode(attributes.get(TOOL + "definition.schema")),
        )
    if kind == "chat_client":
        names = strings_of(attributes, CLIENT + "tool.names")
        tools = [definition({"name": name}) or {} for name in names]
        return AgentSpan(
            span, DIALECT, conversation_id=text_of(attributes, CLIENT + "conversation.id"), tools=tools or None
        )
    return None
