"""Vercel's AI SDK: up to 6 the prompt as JSON and the answer's pieces as attributes; from 7 the GenAI conventions.

https://ai-sdk.dev/docs/ai-sdk-core/telemetry, https://www.npmjs.com/package/@ai-sdk/otel
"""

from typing import Any

from etl.dialects.conventions import genai
from etl.dialects.shapes.json_values import as_list, decode
from etl.dialects.shapes.messages.canonical import canonical_input, canonical_output
from etl.dialects.shapes.messages.tools import call_arguments, definitions, encoded_result
from etl.dialects.shapes.values import Attributes, complete_usage, integer_of, number_of, text_of, usage_of
from etl.dialects.shapes.wording import restore_wording
from etl.dialects.spans import AgentSpan, Embedding, LlmCall, Reading, Span, ToolCall

DIALECT = "vercel"
OPERATION = "ai.operationId"
SCOPES = {"ai", "gen_ai"}
"""Tracers of `@ai-sdk/otel`, which writes the conventions and no `ai.operationId`."""

CALLS = (".doGenerate", ".doStream")
EMBEDDINGS = ".doEmbed"
RUNS = {"ai.generateText", "ai.streamText", "ai.generateObject", "ai.streamObject"}
APIS = {".chat": "chat.completions", ".responses": "responses", ".messages": "messages"}
SETTINGS = (
    ("temperature", "temperature"),
    ("topP", "top_p"),
    ("topK", "top_k"),
    ("seed", "seed"),
    ("maxOutputTokens", "max_tokens"),
    ("maxTokens", "max_tokens"),
    ("frequencyPenalty", "frequency_penalty"),
    ("presencePenalty", "presence_penalty"),
)


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return OPERATION in span.attributes or (span.scope in SCOPES and genai.OPERATION in span.attributes)


def read(span: Span) -> Reading | None:
    """Read a model call, a call of an embeddings API, a tool execution, or the run as the agent it is."""
    attributes = span.attributes
    if OPERATION not in attributes:
        return _read_conventions(span)
    operation = str(attributes[OPERATION]).split(" ", 1)[0]
    if operation.endswith(CALLS):
        return _read_call(span, operation)
    if operation.endswith(EMBEDDINGS):
        return _read_embedding(Embedding.of(_read_call(span, operation), []), attributes)
    if operation == "ai.toolCall":
        return _read_tool(span)
    if operation in RUNS:
        return AgentSpan(span, DIALECT, _function(attributes), _conversation(attributes))
    return None


def _read_conventions(span: Span) -> Reading | None:
    """Read a span in the GenAI conventions, with what the SDK adds to them."""
    found = genai.read(span)
    if isinstance(found, LlmCall):
        found.usage = complete_usage(found.usage, _usage(span.attributes))
    elif isinstance(found, ToolCall) and found.result is not None:
        found.result = encoded_result(span.attributes.get("gen_ai.tool.call.result"))
    elif isinstance(found, Embedding):
        return _read_embedding(found, span.attributes)
    return found


def _read_embedding(found: Embedding, attributes: Attributes) -> Embedding:
    """Add texts and sizes of vectors, each JSON of its own: a list of them, or the only one."""
    texts = attributes.get("ai.values", attributes.get("ai.value"))
    vectors = attributes.get("ai.embeddings", attributes.get("ai.embedding"))
    found.texts = [
        text for text in map(encoded_result, texts if isinstance(texts, list) else [texts]) if text is not None
    ]
    sizes = [decode(vector) for vector in (vectors if isinstance(vectors, list) else [vectors])]
    found.dimensions = [len(vector) for vector in sizes if isinstance(vector, list)]
    if found.call.usage is None:
        found.call.usage = usage_of(input_tokens=integer_of(attributes, "ai.usage.tokens"))
    return found


def _function(attributes: Attributes) -> str | None:
    return text_of(attributes, "ai.telemetry.functionId", "resource.name")


def _conversation(attributes: Attributes) -> str | None:
    prefix = "ai.telemetry.metadata."
    names = ("sessionId", "session_id", "conversationId", "threadId", "chatId", "session.id")
    return text_of(attributes, *(prefix + name for name in names), "session.id")


def _read_call(span: Span, operation: str) -> LlmCall:
    attributes = span.attributes
    call = genai.read_call(span, DIALECT)
    provider = text_of(attributes, "ai.model.provider") or ""
    call.api = next((api for end, api in APIS.items() if provider.endswith(end)), call.api)
    call.provider = provider.split(".")[0] or call.provider
    call.agent = _function(attributes)
    call.conversation_id = _conversation(attributes)
    call.streamed = operation.endswith(".doStream")
    call.model_requested = call.model_requested or text_of(attributes, "ai.model.id")
    call.model_returned = call.model_returned or text_of(attributes, "ai.response.model")
    call.response_id = call.response_id or text_of(attributes, "ai.response.id")
    for name, ours in SETTINGS:
        value = number_of(attributes, "ai.settings." + name)
        if value is not None:
            call.params.setdefault(ours, int(value) if value.is_integer() and ours in genai.INTEGER_PARAMS else value)
    call.tools = definitions(as_list(attributes.get("ai.prompt.tools")))
    choice = _tool_choice(attributes.get("ai.prompt.toolChoice"))
    if choice is not None and call.tools is not None:  # it is written, but not sent, where nothing is offered
        call.params.setdefault("tool_choice", choice)
    prompt = as_list(attributes.get("ai.prompt.messages"))
    call.input = canonical_input(prompt) if prompt is not None else call.input
    call.output = call.output or _output(attributes)
    call.usage = _usage(attributes)
    if span.failed and call.error is not None and not call.output:
        call.model_returned, call.output = None, None
    restore_wording(call)
    return call


def _tool_choice(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    choice = decode(value)
    if isinstance(choice, dict) and choice.get("type") == "tool":
        return {"type": "function", "function": {"name": choice.get("toolName")}}
    return choice.get("type") if isinstance(choice, dict) else None


def _output(attributes: Attributes) -> list[dict[str, Any]] | None:
    text = next(
        (v for v in (attributes.get("ai.response.text"), attributes.get("ai.response.object")) if isinstance(v, str)),
        None,
    )
    calls = as_list(attributes.get("ai.response.toolCalls")) or []
    reason = text_of(attributes, "ai.response.finishReason", "ai.finishReason")
    if text is None and not calls:
        return None
    item = {
        "role": "assistant",
        "content": text,
        "tool_calls": [{"type": "tool-call", **entry} for entry in calls if isinstance(entry, dict)],
        "reasoning": attributes.get("ai.response.reasoning"),
    }
    return canonical_output([item], [reason])


def _usage(attributes: Attributes) -> dict[str, int | None] | None:
    usage = "ai.usage."
    return usage_of(
        input_tokens=integer_of(attributes, "gen_ai.usage.input_tokens", usage + "inputTokens", usage + "promptTokens"),
        output_tokens=integer_of(
            attributes, "gen_ai.usage.output_tokens", usage + "outputTokens", usage + "completionTokens"
        ),
        cached_input_tokens=integer_of(
            attributes, usage + "cachedInputTokens", usage + "inputTokenDetails.cacheReadTokens"
        ),
        reasoning_tokens=integer_of(
            attributes, usage + "reasoningTokens", usage + "outputTokenDetails.reasoningTokens"
        ),
    )


def _read_tool(span: Span) -> ToolCall:
    attributes = span.attributes
    failure = span.status_message or genai.exception_message(span) or "error"
    return ToolCall(
        span,
        DIALECT,
        name=text_of(attributes, "ai.toolCall.name"),
        tool_call_id=text_of(attributes, "ai.toolCall.id"),
        arguments=call_arguments(attributes.get("ai.toolCall.args")),
        result=None if span.failed else encoded_result(attributes.get("ai.toolCall.result")),
        error=failure if span.failed else None,
    )
