"""Tools' executions in OpenInference's attributes."""

from typing import Any

from etl.dialects.openinference.shared import DIALECT, error_told
from etl.dialects.shapes import langchain
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.names import visible
from etl.dialects.shapes.messages.tools import call_arguments, result_text
from etl.dialects.shapes.values import (
    Attributes,
    text_of,
)
from etl.dialects.spans import Span, ToolCall

PASSING = {"args", "kwargs", "sanitize_inputs_outputs"}
"""What smolagents and LlamaIndex record of a function's call, the arguments within."""


def read_tool(span: Span) -> ToolCall:
    """Read a tool's execution: arguments and result in whichever library's form."""
    attributes = span.attributes
    parameters = decode(attributes.get("tool.parameters"))
    arguments = _passed(call_arguments(attributes.get("input.value")), parameters)
    if _are_inputs(parameters):
        parameters = {"type": "object", "properties": parameters}
    is_schema = isinstance(parameters, dict) and ("properties" in parameters or parameters.get("type") == "object")
    if isinstance(parameters, dict) and not is_schema:  # AutoGen and Agno put the arguments there
        arguments = parameters
    message = _tool_message(attributes)
    result = None if span.failed else _tool_output(attributes, message)
    error = (error_told(span)["message"] or "error") if span.failed else None
    if message.get("status") == "error" and error is None:
        error, result = result or "error", None
    return ToolCall(
        span,
        DIALECT,
        name=text_of(attributes, "tool.name") or span.name,
        tool_call_id=text_of(attributes, "tool_call.id") or text_of(message, "tool_call_id"),
        arguments=arguments,
        result=result,
        error=error,
        description=text_of(attributes, "tool.description"),
        parameters=parameters if is_schema else None,
    )


def _are_inputs(parameters: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether these are smolagents' inputs: the properties of a schema, without the schema around them."""
    return (
        isinstance(parameters, dict)
        and bool(parameters)
        and all(isinstance(value, dict) and "type" in value for value in parameters.values())
    )


def _passed(arguments: Any, parameters: Any) -> Any:  # noqa: ANN401 - any JSON values
    """Return what a function was called with, where a library recorded Python's own way of passing it."""
    if not isinstance(arguments, dict) or not isinstance(arguments.get("kwargs"), dict) or set(arguments) - PASSING:
        return arguments
    names = list(parameters) if isinstance(parameters, dict) else []
    positional = arguments.get("args")
    return {**dict(zip(names, positional or (), strict=False)), **arguments["kwargs"]}


def _tool_message(attributes: Attributes) -> dict[str, Any]:
    """Return the fields of the LangChain message that a tool returned, in whichever form; empty where it did not."""
    value = decode(attributes.get("output.value")) if attributes.get("output.mime_type") == "application/json" else None
    if not isinstance(value, dict):
        return {}
    inner = value.get("output")
    if len(value) == 1 and isinstance(inner, dict):  # JavaScript's
        value = inner
    fields: dict[str, Any] = value
    if langchain.is_langchain(value):
        fields = value["kwargs"]
    elif value.get("type") != "tool":
        return {}
    elif isinstance(value.get("data"), dict):
        fields = value["data"]
    return fields if "content" in fields else {}


def _tool_output(attributes: Attributes, message: dict[str, Any]) -> str | None:
    output = visible(attributes.get("output.value"))
    if output is None or attributes.get("output.mime_type") != "application/json":
        return output
    if message:
        return result_text(message.get("content"))
    value = decode(output)
    if isinstance(value, dict) and "raw_output" in value and "blocks" in value:  # LlamaIndex
        return result_text(value["blocks"])
    return output
