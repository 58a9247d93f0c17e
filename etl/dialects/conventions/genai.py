"""OpenTelemetry's GenAI conventions, all their ages: parts in attributes, parts in one log event, one event a message.

https://github.com/open-telemetry/semantic-conventions-genai
"""

from typing import Any

from etl.dialects.shapes.json_values import as_list, decode, salvage_messages
from etl.dialects.shapes.message_events import MESSAGE_EVENTS, read_message_events
from etl.dialects.shapes.messages.canonical import canonical_input, canonical_output, has_content, join_answers
from etl.dialects.shapes.messages.tools import call_arguments, definition, definitions, result_text
from etl.dialects.shapes.reprs import read_repr
from etl.dialects.shapes.requests import Requests
from etl.dialects.shapes.values import (
    Attributes,
    error_of,
    flag_of,
    integer_of,
    number_of,
    strings_of,
    text_of,
    usage_of,
)
from etl.dialects.shapes.wording import names_a_stream, restore_wording, uncached_usage, without_thoughts
from etl.dialects.spans import AgentSpan, Embedding, Evaluation, LlmCall, Message, Reading, Span, ToolCall
from otel_exporter.schema import EVALUATION_NAME

DIALECT = "genai"
OPERATION = "gen_ai.operation.name"
DETAILS_EVENT = "gen_ai.client.inference.operation.details"
CALL_OPERATIONS = {"chat", "text_completion", "generate_content"}
EVALUATION_OPERATIONS = {"evaluate", "evaluation"}
EMBEDDING_OPERATIONS = {"embeddings", "embedding"}
AGENT_OPERATIONS = {"invoke_agent", "create_agent"}
PLACEHOLDER_AGENTS = {"OpenAI Agent"}
"""What openai-agents-v2 writes on every model call, whichever agent made it."""

OFFERED = "sk.available_functions"
STREAMING_LOOP = "get_streaming_chat_message_contents"
"""The method of Semantic Kernel that its log records tell of where answers are streamed."""

AGENTS_V2_SCOPE = "opentelemetry.instrumentation.openai_agents"

GEMINI_SCOPE = "opentelemetry.instrumentation.google_genai"

REQUESTS = Requests()
"""What is remembered of the requests read last."""

REQUEST = "gen_ai.request."
NUMBER_PARAMS = {REQUEST + name: name for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty")}
NUMBER_PARAMS |= {"llm." + name: name for name in ("frequency_penalty", "presence_penalty")}  # Traceloop's, once
INTEGER_PARAMS = {REQUEST + name: name for name in ("max_tokens", "seed", "top_k")}
FORMAT_PARAMS = {
    "gen_ai.request.tool_choice": "tool_choice",
    "gen_ai.request.response_format": "response_format",
    "gen_ai.openai.request.response_format": "response_format",
    "gen_ai.request.structured_output_schema": "response_format",
}
"""Attributes of sampling parameters, and what these are called."""

FORMATS = {"text", "json_object", "json_schema"}

CHOICE_COUNT = REQUEST + "choice.count"
STOP = REQUEST + "stop_sequences"
PARAMS = frozenset((*NUMBER_PARAMS, *INTEGER_PARAMS, *FORMAT_PARAMS, CHOICE_COUNT, STOP))

FIRST_CHUNK = ("gen_ai.response.time_to_first_chunk", "gen_ai.client.operation.time_to_first_chunk")
"""Only a stream has a first chunk; Pydantic AI and the AI SDK 7 call it as the metric is called."""

USAGE = "gen_ai.usage."
INPUT_TOKENS = (USAGE + "input_tokens", USAGE + "prompt_tokens")
OUTPUT_TOKENS = (USAGE + "output_tokens", USAGE + "completion_tokens")
CACHED_TOKENS = (USAGE + "cache_read.input_tokens", USAGE + "cache_read_input_tokens")
CACHE_WRITES = (
    USAGE + "cache_write.input_tokens",
    USAGE + "cache_creation.input_tokens",
    USAGE + "cache_creation_input_tokens",
)
OPENAI_LIKE = {"openai", "groq", "mistral_ai", "mistralai", "deepseek", "x_ai", "perplexity"}
"""Providers that serve chat completions as OpenAI does, and no other API of chat that is recorded."""

COUNTED_APART = ("openlit.",)
"""Scopes of writers that do not add what Anthropic's cache held to the input, as the conventions have it."""

REASONING_TOKENS = (USAGE + "reasoning.output_tokens", USAGE + "reasoning_tokens", "llm.usage.reasoning_tokens")
TOKEN_COUNTS = frozenset((*INPUT_TOKENS, *OUTPUT_TOKENS, *CACHED_TOKENS, *REASONING_TOKENS))


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    attributes = span.attributes
    if OPERATION in attributes or OFFERED in attributes or EVALUATION_NAME in attributes:
        return True
    return any(record.event_name in MESSAGE_EVENTS for record in span.logs)


def read(span: Span) -> Reading | None:
    """Read a model call, a tool execution or an agent."""
    attributes = span.attributes
    operation = attributes.get(OPERATION)
    if operation in CALL_OPERATIONS:
        return read_call(span, DIALECT)
    if operation in EMBEDDING_OPERATIONS:
        return read_embedding(span, DIALECT)
    if is_judgement(span):
        return Evaluation(span, DIALECT)
    if operation == "execute_tool":
        return read_tool(span, DIALECT)
    if OFFERED in attributes:  # Semantic Kernel: the loop around its model calls
        names = str(attributes[OFFERED]).split(",")
        offered = [definition({"name": name}) or {} for name in names if name]
        is_stream = any(record.attributes.get("code.function.name") == STREAMING_LOOP for record in span.logs)
        return AgentSpan(span, DIALECT, tools=offered, streamed=is_stream or None)
    if operation in AGENT_OPERATIONS:
        return AgentSpan(
            span,
            DIALECT,
            text_of(attributes, "gen_ai.agent.name"),
            text_of(attributes, "gen_ai.conversation.id"),
            definitions(attributes.get("gen_ai.tool.definitions")),
            system=instructions_of(attributes),
            params=read_params(attributes) if operation == "invoke_agent" else {},
        )
    return None


def is_judgement(span: Span) -> bool:
    """Tell whether the span is itself an evaluation: by its operation, or as it carries a result as attributes."""
    attributes = span.attributes
    return attributes.get(OPERATION) in EVALUATION_OPERATIONS or EVALUATION_NAME in attributes


def read_embedding(span: Span, dialect: str) -> Embedding:
    """Read a call of the embeddings API: texts in, vectors out, of which only the size is kept."""
    call = read_call(span, dialect)
    size = integer_of(span.attributes, "gen_ai.embeddings.dimension.count")
    return Embedding.of(call, [size] * len(call.input or ()) if size is not None else [])


def read_call(span: Span, dialect: str) -> LlmCall:
    """Read a model call: attributes of the span, of its details events, and its message events."""
    attributes = _with_details(span)
    call = LlmCall(span, dialect)
    call.provider = text_of(attributes, "gen_ai.provider.name", "gen_ai.system")
    call.api = read_api(span, attributes)
    agent = text_of(attributes, "gen_ai.agent.name")
    call.agent = None if agent in PLACEHOLDER_AGENTS else agent
    call.conversation_id = text_of(attributes, "gen_ai.conversation.id")
    call.prompt_name = text_of(attributes, "gen_ai.prompt.name")
    call.prompt_version = text_of(attributes, "gen_ai.prompt.version")
    call.model_requested = text_of(attributes, "gen_ai.request.model")
    call.model_returned = text_of(attributes, "gen_ai.response.model")
    call.response_id = text_of(attributes, "gen_ai.response.id")
    call.streamed = flag_of(attributes, "gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming")
    if call.streamed is None and (names_a_stream(span.name) or any(mark in attributes for mark in FIRST_CHUNK)):
        call.streamed = True
    call.params = read_params(attributes)
    call.tools = definitions(attributes.get("gen_ai.tool.definitions"))
    call.usage = read_usage(attributes)
    if call.api == "messages" and not span.scope.startswith(COUNTED_APART):
        call.usage = uncached_usage(call.usage, integer_of(attributes, *CACHE_WRITES))
    if span.scope == GEMINI_SCOPE:
        call.usage = without_thoughts(call.usage)
    reasons = finish_reasons(attributes)
    call.truncated = span.dropped_attributes > 0
    call.input = _read_input(call, attributes)
    call.output = _read_output(call, attributes, reasons)
    if (call.input is None and call.output is None) or (call.truncated and span.logs):  # log bodies are never cut
        read_message_events(call, span, reasons)
    call.finish_reasons = reasons
    if span.failed and is_incomplete(_error_text(span)):
        call.finish_reasons = ["incomplete"]
    elif span.failed:
        call.error = error_of(_error_text(span), text_of(attributes, "error.type"))
        if call.error["http_status"] is None:
            call.error["http_status"] = integer_of(attributes, "http.response.status_code")
        if call.output is not None and not any(has_content(message) for message in call.output):
            call.output = None
        if call.output is None and call.response_id is None:
            call.model_returned = None  # Traceloop repeats the requested model
    elif call.output is not None:  # LangChain's official package has this word for a reason it does not know
        for message in call.output:
            message["finish_reason"] = None if message["finish_reason"] == "error" else message["finish_reason"]
    restore_wording(call)
    return call


def finish_reasons(attributes: Attributes) -> list[str]:
    """Return the finish reasons of all choices."""
    reasons = strings_of(attributes, "gen_ai.response.finish_reasons")
    return reasons or strings_of(attributes, "gen_ai.response.finish_reason")


def _with_details(span: Span) -> Attributes:
    """Join what details events (log records, or span events as Strands writes them) say with the span's attributes."""
    merged: dict[str, Any] = {}
    for event in span.events:
        if event.get("name") == DETAILS_EVENT:
            for key, value in (event.get("attributes") or {}).items():
                merged.setdefault(key, value)
    for record in span.logs:
        if record.event_name == DETAILS_EVENT:
            for key, value in record.attributes.items():
                merged.setdefault(key, value)
    return {**merged, **span.attributes} if merged else span.attributes


def read_api(span: Span, attributes: Attributes) -> str | None:
    """Return which API was called, where the recording tells."""
    kind = text_of(attributes, "openai.api.type", "gen_ai.openai.api.type")
    if kind is not None:
        return {"responses": "responses", "chat_completions": "chat.completions"}.get(kind, kind)
    identifier = text_of(attributes, "gen_ai.response.id") or ""
    if identifier.startswith("resp_") or span.name == "openai.response":
        return "responses"
    provider = (text_of(attributes, "gen_ai.provider.name", "gen_ai.system") or "").lower()
    if identifier.startswith("msg_") or provider == "anthropic":
        return "messages"
    if identifier.startswith("cmpl-") or attributes.get(OPERATION) == "text_completion":
        return "completions"
    if identifier.startswith("chatcmpl-") or provider in OPENAI_LIKE:
        return "chat.completions"
    return None


def read_params(attributes: Attributes) -> dict[str, Any]:
    """Return the sampling parameters."""
    params: dict[str, Any] = {}
    if PARAMS.isdisjoint(attributes):
        return params
    for source, name in NUMBER_PARAMS.items():
        if source in attributes and (number := number_of(attributes, source)) is not None:
            params[name] = number
    for source, name in INTEGER_PARAMS.items():
        if source in attributes and (integer := integer_of(attributes, source)) is not None:
            params[name] = integer
    choices = integer_of(attributes, CHOICE_COUNT)
    if choices is not None and choices != 1:
        params["n"] = choices
    stop = strings_of(attributes, STOP)
    if stop:
        params["stop"] = stop
    for source, name in FORMAT_PARAMS.items():
        if attributes.get(source) is not None:
            params.setdefault(name, decode(attributes[source]))
    wanted = params.get("response_format")
    if isinstance(wanted, str):
        params["response_format"] = {"type": wanted}
    elif isinstance(wanted, dict) and wanted.get("type") not in FORMATS:  # Traceloop: the schema alone
        params["response_format"] = {"type": "json_schema", "json_schema": {"schema": wanted}}
    return params


def read_usage(attributes: Attributes) -> dict[str, int | None] | None:
    """Return token counts, under whichever of their names."""
    if TOKEN_COUNTS.isdisjoint(attributes):
        return None
    return usage_of(
        input_tokens=integer_of(attributes, *INPUT_TOKENS),
        output_tokens=integer_of(attributes, *OUTPUT_TOKENS),
        cached_input_tokens=integer_of(attributes, *CACHED_TOKENS),
        reasoning_tokens=integer_of(attributes, *REASONING_TOKENS),
    )


def _array(call: LlmCall, attributes: Attributes, name: str) -> list[Any] | None:
    value = attributes.get(name)
    items = as_list(value)
    if items is None and isinstance(value, str) and value.lstrip().startswith("["):
        call.truncated = True
        return salvage_messages(value) or None
    return items


def _read_input(call: LlmCall, attributes: Attributes) -> list[Message] | None:
    recorded = attributes.get("gen_ai.input.messages")
    messages = REQUESTS.read(recorded) if isinstance(recorded, str) else None
    if messages is None:
        items = _array(call, attributes, "gen_ai.input.messages")
        messages = canonical_input(items) if items is not None else None
    instructions = instructions_of(attributes)
    if instructions is not None:
        if not messages and "gen_ai.input.messages" not in attributes:
            call.pieced.add("input")  # the messages stood there, or elsewhere
        system: Message = {"role": "system", "text": instructions}
        if not messages or messages[0] != system:  # OpenLIT has them among the messages too
            messages = [system, *(messages or [])]
    return messages or None


def instructions_of(attributes: Attributes) -> str | None:
    """Return the system text that stands apart from the messages: a list of parts, or the bare text."""
    recorded = attributes.get("gen_ai.system_instructions")
    if recorded is None:
        return None
    parts = as_list(recorded) or ([recorded] if isinstance(recorded, str) and recorded else [])
    messages = canonical_input([{"role": "system", "parts": parts}])
    return messages[0]["text"] if messages else None


def _read_output(call: LlmCall, attributes: Attributes, reasons: list[str]) -> list[Message] | None:
    items = _array(call, attributes, "gen_ai.output.messages")
    if items is None:
        return None
    if call.span.scope == AGENTS_V2_SCOPE:
        items = [_with_calls(item) for item in items]
    answers = canonical_output(items, reasons if len(reasons) >= len(items) else ())
    if call.api == "responses":
        answers = join_answers(answers)
    if len(reasons) == 1 and len(answers) == 1:
        answers[0]["finish_reason"] = reasons[0]
    return answers or None


def _with_calls(item: Any) -> Any:  # noqa: ANN401
    """Turn the text that openai-agents-v2 writes for a tool call, Python's repr of an object, into the call."""
    if not isinstance(item, dict) or not isinstance(item.get("parts"), list):
        return item
    return {**item, "parts": [_repr_call(part) or part for part in item["parts"]]}


def _repr_call(part: Any) -> dict[str, Any] | None:  # noqa: ANN401
    text = part.get("content") if isinstance(part, dict) else None
    if not isinstance(text, str) or not text.startswith("ResponseFunctionToolCall("):
        return None
    fields = read_repr(text)
    if fields is None:
        return None
    return {
        "type": "tool_call",
        "id": fields.get("call_id"),
        "name": fields.get("name"),
        "arguments": fields.get("arguments"),
    }


def is_incomplete(message: str | None) -> bool:
    """Tell whether an "error" is an answer of the Responses API that was cut off: openai-agents raises it as one."""
    return "response.incomplete" in (message or "")


def _error_text(span: Span) -> str | None:
    """Return the fuller of status message and exception message."""
    texts = [text for text in (span.status_message, exception_message(span)) if text]
    return max(texts, key=lambda text: ("{" in text, len(text)), default=None)


def exception_message(span: Span) -> str | None:
    """Return the message of the span's exception event."""
    for event in span.events:
        if event.get("name") == "exception":
            return text_of(event.get("attributes") or {}, "exception.message")
    return None


def read_tool(span: Span, dialect: str) -> ToolCall:
    """Read a tool execution."""
    attributes = span.attributes
    value = decode(attributes.get("gen_ai.tool.call.result"))
    message = span.status_message or exception_message(span) or text_of(attributes, "error.type")
    asked_as = text_of(attributes, "gen_ai.tool.name") or span.name.removeprefix("execute_tool ")
    name = asked_as.split("-", 1)[-1] if span.scope.startswith("semantic_kernel.") else asked_as  # plugin-function
    return ToolCall(
        span,
        dialect,
        name=name,
        tool_call_id=text_of(attributes, "gen_ai.tool.call.id"),
        arguments=_tool_arguments(attributes.get("gen_ai.tool.call.arguments")),
        result=None if span.failed else _tool_result(attributes.get("gen_ai.tool.call.result"), value),
        error=(message or "error") if span.failed else None,
        description=text_of(attributes, "gen_ai.tool.description"),
        asked_as=asked_as if asked_as != name else None,
    )


def _tool_arguments(value: Any) -> Any:  # noqa: ANN401
    arguments = call_arguments(value)
    if (
        isinstance(arguments, dict) and "input_str" in arguments
    ):  # Traceloop over LangChain: a Python literal inside JSON
        return call_arguments(arguments["input_str"])
    return arguments


def _tool_result(recorded: Any, value: Any) -> str | None:  # noqa: ANN401
    output = value.get("output") if isinstance(value, dict) else None
    if isinstance(output, dict) and isinstance(output.get("kwargs"), dict):  # a serialised LangChain ToolMessage
        return result_text(output["kwargs"].get("content"))
    return result_text(recorded)
