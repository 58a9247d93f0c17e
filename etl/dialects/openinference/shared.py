"""What all of OpenInference's readers know: its name, whose calls are routed, and how an error is told."""

from typing import Any

from etl.dialects.frameworks import crewai
from etl.dialects.shapes.values import (
    error_of,
    text_of,
)
from etl.dialects.spans import Span

DIALECT = "openinference"


ROUTED_SCOPES = (".dspy", ".smolagents", ".crewai", crewai.LISTENER, ".litellm")
"""Libraries whose calls go through LiteLLM, so that models are named with their provider."""


def error_told(span: Span) -> dict[str, Any]:
    """Return the error of a failed span, from its status or from the exception that it noted."""
    message, kind = span.status_message, None
    for event in span.events:
        if event.get("name") == "exception":
            fields = event.get("attributes") or {}
            kind = text_of(fields, "exception.type") or kind
            message = message or text_of(fields, "exception.message")
    return error_of(message, kind)
