"""OpenLIT: the GenAI conventions, with what nobody asked for in them.

It records the defaults it knows of parameters that were not set, and a failed call may have nothing but its name.

https://github.com/openlit/openlit
"""

from dataclasses import replace

from etl.dialects.conventions import genai
from etl.dialects.shapes.reprs import read_fields
from etl.dialects.shapes.wording import plain_model
from etl.dialects.spans import LlmCall, Reading, Span, ToolCall

DIALECT = "openlit"
SCOPE = "openlit."
JAVASCRIPT = "@openlit/"
LITELLM = ".litellm"
DEFAULTS = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 1,
    "seed": 0,
    "max_tokens": -1,
    "max_output_tokens": -1,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
}
"""What it writes for parameters that a request did not have; a request that had them cannot be told from it."""


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return span.scope.startswith((SCOPE, JAVASCRIPT))


def read(span: Span) -> Reading | None:
    """Read a model call, a tool execution or an agent."""
    operation, _, model = span.name.partition(" ")
    if span.failed and operation in genai.CALL_OPERATIONS and genai.OPERATION not in span.attributes:
        span = replace(span, attributes={genai.OPERATION: operation, "gen_ai.request.model": model, **span.attributes})
    reading = genai.read(span)
    if isinstance(reading, LlmCall):
        _correct(reading)
    if isinstance(reading, ToolCall):
        message = read_fields(reading.result)  # LangChain's, as Pydantic prints it
        if message is not None and isinstance(message.get("content"), str):
            reading.result = message["content"]
    return reading


def _correct(call: LlmCall) -> None:
    call.dialect = DIALECT
    call.params = {name: value for name, value in call.params.items() if DEFAULTS.get(name) != value}
    if call.usage is not None and not call.usage["input_tokens"] and not call.usage["output_tokens"]:
        call.usage = None  # a stream's, not known
    if call.span.scope.endswith(LITELLM):
        call.model_requested, call.model_returned = plain_model(call.model_requested), plain_model(call.model_returned)
