"""Traceloop's OpenLLMetry: today's parts in attributes, and the indexed `gen_ai.prompt.N` of before.

https://github.com/traceloop/openllmetry
"""

from itertools import pairwise
from typing import Any

import orjson

from etl.dialects.conventions import genai
from etl.dialects.shapes import langchain
from etl.dialects.shapes.executions import tool_arguments, tool_result
from etl.dialects.shapes.json_values import decode, loads
from etl.dialects.shapes.messages.canonical import UNREAD, canonical_input, canonical_output
from etl.dialects.shapes.messages.names import CALL_BLOCKS, NAMED_BLOCKS
from etl.dialects.shapes.messages.tools import definition
from etl.dialects.shapes.values import Attributes, any_begins, error_of, numbered, text_of
from etl.dialects.shapes.wording import api_of_client, asked_for, restore_wording
from etl.dialects.spans import AgentSpan, AnswerFact, Embedding, LlmCall, Message, Reading, Span, ToolCall

DIALECT = "traceloop"
NAMES = {"text", "image", *NAMED_BLOCKS}
KIND = "traceloop.span.kind"
CALL_TYPES = {"chat", "completion"}
AGENTS_SCOPE = "opentelemetry.instrumentation.openai_agents"

EMPTY_JSON_TEXTS = {'""', "[]"}
"""How LangChain's empty content comes out of the indexed form."""

BLOCKS = ("[{", '"')
"""How content begins that is a list of blocks as JSON; Bedrock's instrumentation wrote a text as JSON too."""

DUMPED = '{"'
"""How a line begins that is a block of content as JSON, which Traceloop writes for a block it does not know."""


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect, or only its indexed form."""
    attributes = span.attributes
    if KIND in attributes or "llm.request.type" in attributes:
        return True
    scope = span.scope
    ours = scope.startswith("opentelemetry.instrumentation.") and (span.scope_version or "").startswith("0.")
    return (ours and (genai.OPERATION in attributes)) or is_indexed(attributes)


def is_indexed(attributes: Attributes) -> bool:
    """Tell whether messages are spread over numbered attributes."""
    return any_begins(attributes, "gen_ai.prompt.") or any_begins(attributes, "gen_ai.completion.")


def is_embedding(attributes: Attributes) -> bool:
    """Tell whether an embedding was asked for: a model, but no policy that acts."""
    return (
        "embedding" in str(attributes.get("llm.request.type"))
        or attributes.get(genai.OPERATION) in genai.EMBEDDING_OPERATIONS
    )


def read(span: Span) -> Reading | list[AgentSpan | AnswerFact] | None:
    """Read a model call, a tool execution or an agent."""
    attributes = span.attributes
    kind = attributes.get(KIND)
    operation = attributes.get(genai.OPERATION)
    if kind == "tool":
        return _read_tool(span)
    if kind == "agent" or (kind is None and operation in genai.AGENT_OPERATIONS):
        name = text_of(attributes, "gen_ai.agent.name", "traceloop.entity.name")
        return AgentSpan(span, DIALECT, name, _conversation(attributes), system=genai.instructions_of(attributes))
    if operation == "execute_tool":
        return _read_tool(span)
    if kind in {"workflow", "task"}:
        if kind == "workflow" and span.scope.endswith(".langchain"):
            return AgentSpan(span, DIALECT, text_of(attributes, "traceloop.workflow.name"), _conversation(attributes))
        return _read_task(span) if kind == "task" else None
    if is_embedding(attributes):
        return Embedding.of(read_call(span, DIALECT), [])
    if (
        operation in genai.CALL_OPERATIONS
        or text_of(attributes, "llm.request.type") in CALL_TYPES
        or is_indexed(attributes)
    ):
        return read_call(span, DIALECT)
    return None


def _read_task(span: Span) -> list[AgentSpan | AnswerFact] | None:
    """Read what a LangChain task tells of answers; and an agent where a graph's node runs the graph of its name."""
    attributes = span.attributes
    found: list[AgentSpan | AnswerFact] = []
    name = text_of(attributes, "traceloop.entity.name")
    path = text_of(attributes, "traceloop.entity.path") or ""
    if name is not None and path.rsplit(".", 1)[-1] == name and span.scope.endswith(".langchain"):
        found.append(AgentSpan(span, DIALECT, name, _conversation(attributes)))
    output = attributes.get("traceloop.entity.output")
    if "AIMessage" in str(output):
        found += langchain.answer_facts(decode(output))
    return found or None


def _conversation(attributes: Attributes) -> str | None:
    prefix = "traceloop.association.properties."
    return text_of(
        attributes, "gen_ai.conversation.id", prefix + "session_id", prefix + "thread_id", prefix + "conversation_id"
    )


def read_call(span: Span, dialect: str) -> LlmCall:
    """Read a model call, its messages in parts or indexed."""
    attributes = span.attributes
    call = genai.read_call(span, dialect)
    call.conversation_id = _conversation(attributes)
    call.agent = call.agent or text_of(attributes, "traceloop.association.properties.lc_agent_name")
    if span.scope == AGENTS_SCOPE:
        call.params = asked_for(call.params)  # the response's echo
        if call.response_id is None and call.input is not None:
            call.api = None  # the span's name says "response" for chat completions too, of which no id is recorded
    if (call.provider or "").lower() == "langchain":  # the framework, not the provider
        call.provider = None
        if call.api is None:
            is_chat = (call.response_id or "").startswith("chatcmpl-")
            call.api = "chat.completions" if is_chat else api_of_client(span.name)
    if call.input is None:
        call.input = indexed_input(attributes)
    if call.output is None:
        call.output = indexed_output(attributes)
        for message, reason in zip(call.output or (), call.finish_reasons, strict=False):
            message["finish_reason"] = message["finish_reason"] or reason
        restore_wording(call)
    call.input, call.output = _without_dumps(call.input), _without_dumps(call.output)
    if call.tools is None:
        call.tools = indexed_tools(attributes)
    if span.failed and call.error is None and not genai.is_incomplete(span.status_message):
        call.error = error_of(span.status_message)
    return call


def _without_dumps(messages: list[Message] | None) -> list[Message] | None:
    """Leave tool calls out of the answers' texts, where they are read as what they are, and read reasoning as such."""
    return None if messages is None else [_without_dump(message) for message in messages]


def _without_dump(message: Message) -> Message:
    text = message.get("text")
    if message["role"] != "assistant" or text is None or DUMPED not in text:
        return message
    identifiers = {request["id"] for request in message.get("tool_calls") or ()} - {None}
    kept, reasoning = [], []
    for line in text.split("\n"):
        block = decode(line) if line.startswith(DUMPED) else None
        block = block if isinstance(block, dict) else {}
        thought = block.get("reasoningContent")
        if not identifiers.isdisjoint((block.get("id"), block.get("call_id"))) and block.get("type") in CALL_BLOCKS:
            continue
        if isinstance(thought, dict) and isinstance(thought.get("reasoningText"), dict) and len(block) == 1:
            reasoning.append(str(thought["reasoningText"].get("text")))
        else:
            kept.append(line)
    changed: Message = {**message, "text": "\n".join(kept) if kept else None}
    return {**changed, "reasoning": "\n".join(reasoning)} if reasoning and "finish_reason" in message else changed


def _items(attributes: Attributes, prefix: str) -> list[dict[str, Any]]:
    is_json = attributes.get("gen_ai.system") == "AWS"
    items: list[dict[str, Any]] = []
    for fields in numbered(attributes, prefix).values():
        content = fields.get("content")
        if isinstance(content, str) and content in EMPTY_JSON_TEXTS:
            content = ""
        if isinstance(content, str) and content.startswith(BLOCKS):
            content = _blocks(content, is_json=is_json)
        calls = [
            {"id": call.get("id"), "name": call.get("name"), "arguments": call.get("arguments")}
            for call in numbered(fields, "tool_calls").values()
        ]
        item: dict[str, Any] = {"role": fields.get("role"), "content": content, "tool_calls": calls}
        if "tool_call_id" in fields:
            item["tool_call_id"] = fields["tool_call_id"]
        if "function_call.name" in fields:
            item["function_call"] = {
                "name": fields["function_call.name"],
                "arguments": fields.get("function_call.arguments"),
            }
        for key in ("finish_reason", "refusal"):
            if key in fields:
                item[key] = fields[key]
        items.append(item)
    for item, following in pairwise(items):
        if item["role"] is None:  # dropped by the SDK's limit, with all that stood before it
            item["role"] = "assistant" if following["role"] == "user" else "user"
            item[UNREAD] = True
    if items and items[-1]["role"] is None:  # a completions API's prompt
        items[-1]["role"] = "user"
        if len(items) > 1:
            items[-1][UNREAD] = True
    return items


def _blocks(content: str, *, is_json: bool) -> Any:  # noqa: ANN401 - any JSON value
    """Return the blocks or the text that content is the JSON of; the content itself where it is none."""
    try:
        value = loads(content)
    except orjson.JSONDecodeError:
        return content
    if isinstance(value, str):
        return value if is_json else content
    is_blocks = isinstance(value, list) and all(isinstance(block, dict) and _is_block(block) for block in value)
    return value if is_blocks else content


def _is_block(block: dict[str, Any]) -> bool:
    """Tell whether this is a block of content: by its type, or as Bedrock's, whose one key says what it is."""
    return "type" in block or (len(block) == 1 and not NAMES.isdisjoint(block))


def indexed_input(attributes: Attributes) -> list[Message] | None:
    """Read `gen_ai.prompt.N.*`."""
    items = _items(attributes, "gen_ai.prompt")
    return canonical_input(items) if items else None


def indexed_output(attributes: Attributes) -> list[Message] | None:
    """Read `gen_ai.completion.N.*`."""
    items = _items(attributes, "gen_ai.completion")
    for item, following in pairwise(items):
        if item["role"] == "thinking":  # Anthropic's, before what it led to
            following["reasoning"] = item["content"]
            following.setdefault("finish_reason", item.get("finish_reason"))
    items = [item for item in items if item["role"] != "thinking"] or items
    for item in items:
        if item["tool_calls"] and item["content"] == "":
            item["content"] = None
    return canonical_output(items) if items else None


def indexed_tools(attributes: Attributes, prefix: str = "llm.request.functions") -> list[dict[str, Any]] | None:
    """Read `llm.request.functions.N.*`."""
    found = [definition(fields) for fields in numbered(attributes, prefix).values()]
    return [tool for tool in found if tool is not None] or None


def _read_tool(span: Span) -> ToolCall:
    tool = genai.read_tool(span, DIALECT)
    attributes = span.attributes
    tool.name = text_of(attributes, "gen_ai.tool.name", "traceloop.entity.name") or tool.name
    if tool.arguments is None:
        entity = decode(attributes.get("traceloop.entity.input"))
        inputs = entity.get("inputs") if isinstance(entity, dict) else None
        tool.arguments = inputs if isinstance(inputs, dict) else tool_arguments(entity)
    if tool.result is None and tool.error is None:
        tool.result = tool_result(attributes.get("traceloop.entity.output"))
    return tool
