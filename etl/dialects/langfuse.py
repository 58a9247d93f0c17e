"""Langfuse (v3 to v5): observations with the client's messages as JSON. Its scores do not travel by OTLP.

https://langfuse.com/docs/opentelemetry/get-started
"""

from typing import Any

from etl.dialects import client_dump, genai
from etl.dialects.messages import call_arguments, canonical_output, decode, result_text
from etl.dialects.spans import AgentSpan, Evaluation, LlmCall, Reading, Span, ToolCall
from etl.dialects.values import error_of, integer_of, number_of, text_of, usage_of
from etl.dialects.wording import restore_wording

DIALECT = "langfuse"
KIND = "langfuse.observation.type"
PREFIX = "langfuse.observation."
DEFAULTS = {"temperature": 1.0, "top_p": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0}
"""What the wrapper writes for parameters nobody set; `max_tokens` becomes the text "Infinity"."""

CALLS = {"generation"}


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect; trace-level attributes alone are copied to spans of others."""
    return KIND in span.attributes


def read(span: Span) -> Reading | None:
    """Read a model call, a tool execution, an agent or a judgement."""
    attributes = span.attributes
    kind = str(attributes[KIND]).lower()
    if kind in CALLS:
        return _read_call(span)
    if kind == "tool":
        failed = span.failed or attributes.get(PREFIX + "level") == "ERROR"
        failure = text_of(attributes, PREFIX + "status_message") or span.status_message
        return ToolCall(
            span,
            DIALECT,
            name=text_of(attributes, "gen_ai.tool.name") or span.name,
            tool_call_id=text_of(attributes, "gen_ai.tool.call.id"),
            arguments=call_arguments(attributes.get(PREFIX + "input")),
            result=None if failed else _result(attributes.get(PREFIX + "output")),
            error=(failure or genai.exception_message(span) or "error") if failed else None,
        )
    if kind == "agent":
        return AgentSpan(span, DIALECT, text_of(attributes, "gen_ai.agent.name") or span.name, _session(span))
    if kind == "evaluator":
        return Evaluation(span, DIALECT)
    return None


def _session(span: Span) -> str | None:
    return text_of(span.attributes, "session.id", "langfuse.session.id")


def _read_call(span: Span) -> LlmCall:
    attributes = span.attributes
    call = genai.read_call(span, DIALECT)
    call.conversation_id = _session(span)
    request = client_dump.read_request(attributes.get(PREFIX + "input"))
    if request is not None:
        call.api = call.api or request.api
        call.input = call.input or request.input
        call.tools = call.tools or request.tools
    _add_output(call, decode(attributes.get(PREFIX + "output")))
    call.params = {**_params(attributes.get(PREFIX + "model.parameters")), **call.params}
    model = text_of(attributes, PREFIX + "model.name")
    failed = span.failed or attributes.get(PREFIX + "level") == "ERROR"
    if failed:
        call.model_requested = call.model_requested or model
        message = text_of(attributes, PREFIX + "status_message") or span.status_message
        call.error = error_of(message or genai.exception_message(span))
        call.output = None
    else:
        call.model_returned = call.model_returned or model
    call.usage = _usage(attributes.get(PREFIX + "usage_details")) or call.usage
    if attributes.get(PREFIX + "completion_start_time") is not None:
        call.streamed = True
    restore_wording(call)
    return call


def _add_output(call: LlmCall, recorded: Any) -> None:  # noqa: ANN401 - any JSON value
    if call.output is not None or recorded is None:
        return
    response = client_dump.read_response(recorded)
    if response is not None and response.output is not None:
        call.output, call.api = response.output, response.api or call.api
        call.response_id = call.response_id or response.response_id
        return
    if isinstance(recorded, str):
        recorded = {"role": "assistant", "content": recorded}
    if isinstance(recorded, dict):
        call.output = canonical_output([recorded])


def _params(recorded: Any) -> dict[str, Any]:  # noqa: ANN401
    parameters = decode(recorded)
    if not isinstance(parameters, dict):
        return {}
    kept: dict[str, Any] = {}
    for name, value in client_dump.sampling_params(parameters).items():
        number = number_of(parameters, name)
        if value in ("Infinity", "inf") or (number is not None and DEFAULTS.get(name) == number):
            continue
        is_text = isinstance(value, str) and number is not None
        kept[name] = (int(number) if number.is_integer() else number) if is_text and number is not None else value
    return kept


def _usage(recorded: Any) -> dict[str, int | None] | None:  # noqa: ANN401
    usage = decode(recorded)
    if not isinstance(usage, dict):
        return None
    read = client_dump.read_usage(usage)
    input_tokens = integer_of(usage, "input", "input_tokens", "prompt_tokens")
    cached = integer_of(
        usage, "input_cached_tokens", "prompt_tokens_details.cached_tokens", "input_cache_read", "cache_read"
    )
    reasoning = integer_of(
        usage, "output_reasoning_tokens", "completion_tokens_details.reasoning_tokens", "output_reasoning", "reasoning"
    )
    return usage_of(
        input_tokens=input_tokens,
        output_tokens=integer_of(usage, "output", "output_tokens", "completion_tokens"),
        cached_input_tokens=read["cached_input_tokens"] if read and cached is None else cached,
        reasoning_tokens=read["reasoning_tokens"] if read and reasoning is None else reasoning,
    )


def _result(recorded: Any) -> str | None:  # noqa: ANN401
    value = decode(recorded)
    if isinstance(value, dict) and value.get("type") == "tool" and "content" in value:  # LangChain's tool message
        return result_text(value["content"])
    if isinstance(value, dict) and value.get("role") == "tool":
        return result_text(value.get("content"))
    return result_text(recorded.strip('"') if isinstance(recorded, str) and recorded[:1] == '"' else recorded)
