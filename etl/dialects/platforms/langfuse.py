"""Langfuse (v3 to v5): observations with the client's messages as JSON. Its scores do not travel by OTLP.

Its wrapper of OpenAI's client, its handler for LangChain and its own decorator write the same attributes, each in its
own way. https://langfuse.com/docs/opentelemetry/get-started
"""

from typing import Any

from etl.dialects.conventions import genai
from etl.dialects.shapes import client_dump, exchanges, langchain
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.canonical import canonical_output, responses_output
from etl.dialects.shapes.messages.tools import call_arguments, definition, result_text
from etl.dialects.shapes.values import Attributes, error_of, integer_of, number_of, text_of, usage_of
from etl.dialects.shapes.wording import alias_of, restore_wording
from etl.dialects.spans import AgentSpan, AnswerFact, Embedding, Evaluation, LlmCall, Message, Reading, Span, ToolCall

DIALECT = "langfuse"
KIND = "langfuse.observation.type"
PREFIX = "langfuse.observation."
DEFAULTS = {"temperature": 1.0, "top_p": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0}
"""What the wrapper writes for parameters nobody set; `max_tokens` becomes the text "Infinity"."""

METADATA = PREFIX + "metadata."
ITEMS = {"message", "function_call", "reasoning"}
"""Types of the items that an answer of the Responses API consists of; an only one is recorded without its list."""


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect; trace-level attributes alone are copied to spans of others."""
    return KIND in span.attributes


def read(span: Span) -> Reading | list[AnswerFact] | None:
    """Read a model call, a tool execution, an agent, a judgement, or what LangChain's messages tell of answers."""
    attributes = span.attributes
    kind = str(attributes[KIND]).lower()
    if kind == "generation":
        return _read_call(span)
    if kind == "embedding":
        return _read_embedding(span)
    if kind == "tool":
        return _read_tool(span)
    if kind == "agent":
        return AgentSpan(span, DIALECT, text_of(attributes, "gen_ai.agent.name") or span.name, _session(span))
    if kind == "evaluator":
        return Evaluation(span, DIALECT)
    output = attributes.get(PREFIX + "output")
    if kind == "chain" and isinstance(output, str) and "response_metadata" in output:
        return langchain.answer_facts(langchain.with_classes(decode(output))) or None
    return None


def _session(span: Span) -> str | None:
    return text_of(span.attributes, "session.id", "langfuse.session.id")


def _metadata(attributes: Attributes, name: str) -> str | None:
    """Return a text of the observation's metadata, which version 5 encodes as JSON."""
    text = text_of(attributes, METADATA + name)
    return text.strip('"') or None if text is not None else None


def _failure(span: Span) -> str | None:
    """Return why an observation failed; None where it did not."""
    if not span.failed and span.attributes.get(PREFIX + "level") != "ERROR":
        return None
    message = text_of(span.attributes, PREFIX + "status_message") or span.status_message
    return message or genai.exception_message(span) or "error"


def _read_tool(span: Span) -> ToolCall:
    attributes = span.attributes
    failure = _failure(span)
    return ToolCall(
        span,
        DIALECT,
        name=text_of(attributes, "gen_ai.tool.name") or span.name,
        tool_call_id=text_of(attributes, "gen_ai.tool.call.id") or _metadata(attributes, "tool_call_id"),
        arguments=_arguments(attributes.get(PREFIX + "input")),
        result=None if failure else _result(attributes.get(PREFIX + "output")),
        error=failure,
    )


def _arguments(recorded: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return the arguments, also from what the decorator makes of them; it does not name those given by position."""
    arguments = call_arguments(recorded)
    if isinstance(arguments, dict) and set(arguments) == {"args", "kwargs"}:
        return None if arguments["args"] else arguments["kwargs"]
    return arguments


def _read_embedding(span: Span) -> Embedding:
    attributes = span.attributes
    call = LlmCall(span, DIALECT, model_returned=text_of(attributes, PREFIX + "model.name"))
    failure = _failure(span)
    if failure:
        call.model_requested, call.model_returned, call.error = call.model_returned, None, error_of(failure)
    call.usage = _usage(attributes.get(PREFIX + "usage_details"))
    texts, sizes = decode(attributes.get(PREFIX + "input")), decode(attributes.get(PREFIX + "output"))
    texts = [text for text in (texts if isinstance(texts, list) else [texts]) if isinstance(text, str)]
    call.input = [{"role": "user", "text": text} for text in texts]
    size = integer_of(sizes, "dimensions") if isinstance(sizes, dict) else None
    return Embedding.of(call, [size] * (integer_of(sizes, "count") or len(texts)) if size is not None else [])


def _read_call(span: Span) -> LlmCall:
    attributes = span.attributes
    call = genai.read_call(span, DIALECT)
    call.conversation_id = _session(span)
    call.provider = call.provider or _metadata(attributes, "ls_provider")
    call.agent = call.agent or _metadata(attributes, "lc_agent_name")
    _add_input(call, decode(attributes.get(PREFIX + "input")))
    _add_output(call, decode(attributes.get(PREFIX + "output")))
    recorded = decode(attributes.get(PREFIX + "model.parameters"))
    call.params = {**_params(recorded), **call.params}
    response_format = decode(attributes.get(METADATA + "response_format"))
    if isinstance(response_format, dict) and response_format:
        call.params.setdefault("response_format", response_format)
    if "max_output_tokens" in call.params:
        call.api = "responses"
    failure = _failure(span)
    _add_models(
        call, text_of(attributes, PREFIX + "model.name"), is_wrapper=_is_wrapper(recorded), failed=bool(failure)
    )
    if failure:
        call.error = error_of(failure)
        call.output = None
    call.usage = _usage(attributes.get(PREFIX + "usage_details")) or call.usage
    if attributes.get(PREFIX + "completion_start_time") is not None:
        call.streamed = True
    restore_wording(call)
    return call


def _is_wrapper(parameters: Any) -> bool:  # noqa: ANN401
    """Tell whether the wrapper of OpenAI's client wrote the parameters: it alone fills in what nobody set."""
    return isinstance(parameters, dict) and set(DEFAULTS) <= set(parameters)


def _add_models(call: LlmCall, model: str | None, *, is_wrapper: bool, failed: bool) -> None:
    """Tell the model that was asked for from the one that answered, of which each writer records one or the other."""
    asked = _metadata(call.span.attributes, "ls_model_name")
    if failed or (asked is None and not is_wrapper and alias_of(model) is None):
        call.model_requested = call.model_requested or asked or model
        return
    call.model_requested = call.model_requested or asked
    call.model_returned = call.model_returned or (model if model != asked else None)


def _add_input(call: LlmCall, recorded: Any) -> None:  # noqa: ANN401
    if isinstance(recorded, str) and recorded:
        recorded = [{"role": "user", "content": recorded}]
    if isinstance(recorded, dict) and "input" in recorded and "messages" not in recorded:
        recorded = {"instructions": None, **recorded}
    offered: list[dict[str, Any]] = []
    if isinstance(recorded, list):
        offered = [tool for tool in map(_offered, recorded) if tool is not None]
        recorded = [item for item in recorded if _offered(item) is None]
    request = client_dump.read_request(recorded)
    if request is None:
        return
    call.api = call.api or request.api
    call.input = call.input or request.input
    call.tools = call.tools or request.tools or offered or None
    instructions = _metadata(call.span.attributes, "instructions")
    if instructions is not None and call.input is not None and not any(m["role"] == "system" for m in call.input):
        call.input = [{"role": "system", "text": instructions}, *call.input]
    if _metadata(call.span.attributes, "ls_provider") is not None:
        _drop_empty_texts(call.input or [])


def _offered(item: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """Return the tool that the handler for LangChain lists among the messages, as if it were a tool's result."""
    content = item.get("content") if isinstance(item, dict) and item.get("role") == "tool" else None
    return definition(content) if isinstance(content, dict) and "tool_call_id" not in item else None


def _drop_empty_texts(messages: list[Message]) -> None:
    """Take back, in place, the empty text that LangChain gives messages that ask for tools."""
    for message in messages:
        if message.get("tool_calls"):
            message["text"] = message["text"] or None


def _add_output(call: LlmCall, recorded: Any) -> None:  # noqa: ANN401
    if call.output is not None or recorded in (None, {}):
        return
    items = recorded if isinstance(recorded, list) else [recorded]
    if items and all(isinstance(item, dict) and item.get("type") in ITEMS for item in items):
        call.api = "responses"
        call.response_id = call.response_id or _metadata(call.span.attributes, "id")
        status = _metadata(call.span.attributes, "status") or text_of(items[-1], "status")
        call.output = [responses_output(items, status)]
        return
    response = client_dump.read_response(recorded)
    if response is not None and response.output is not None:
        call.output, call.api = response.output, response.api or call.api
        call.response_id = call.response_id or response.response_id
        return
    if isinstance(recorded, str):
        recorded = {"role": "assistant", "content": recorded}
    if isinstance(recorded, dict):
        call.output = canonical_output([recorded], [_metadata(call.span.attributes, "finish_reason")])
        _drop_empty_texts(call.output if _metadata(call.span.attributes, "ls_provider") is not None else [])


def _params(recorded: Any) -> dict[str, Any]:  # noqa: ANN401
    kept: dict[str, Any] = {}
    for name, value in client_dump.sampling_params(recorded).items():
        number = number_of(recorded, name)
        if value in ("Infinity", "inf") or (number is not None and DEFAULTS.get(name) == number):
            continue
        is_text = isinstance(value, str) and number is not None
        kept[name] = (int(number) if number.is_integer() else number) if is_text and number is not None else value
    return kept


def _usage(recorded: Any) -> dict[str, int | None] | None:  # noqa: ANN401
    usage = decode(recorded)
    if not isinstance(usage, dict):
        return None
    read = exchanges.read_usage(usage)
    input_tokens = integer_of(usage, "input", "input_tokens", "prompt_tokens")
    cached = integer_of(
        usage, "input_cached_tokens", "prompt_tokens_details.cached_tokens", "input_cache_read", "cache_read"
    )
    reasoning = integer_of(
        usage, "output_reasoning_tokens", "completion_tokens_details.reasoning_tokens", "output_reasoning", "reasoning"
    )
    output_tokens = integer_of(usage, "output", "output_tokens", "completion_tokens")
    if None not in (input_tokens, output_tokens) and "total" in usage and _sum(usage, "") == usage["total"]:
        input_tokens, output_tokens = _sum(usage, "input"), _sum(usage, "output")
    return usage_of(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=read["cached_input_tokens"] if read and cached is None else cached,
        reasoning_tokens=read["reasoning_tokens"] if read and reasoning is None else reasoning,
    )


def _sum(usage: dict[str, Any], side: str) -> int:
    """Add up one side's counts, or both: the handler for LangChain takes the kinds of tokens out of their sum."""
    names = (name for name in usage if name.startswith((side or "input", side or "output")))
    return sum(integer_of(usage, name) or 0 for name in names)


def _result(recorded: Any) -> str | None:  # noqa: ANN401
    value = decode(recorded)
    if isinstance(value, dict) and value.get("type") == "tool" and "content" in value:  # LangChain's tool message
        return result_text(value["content"])
    if isinstance(value, dict) and value.get("role") == "tool":
        return result_text(value.get("content"))
    return result_text(recorded.strip('"') if isinstance(recorded, str) and recorded[:1] == '"' else recorded)
