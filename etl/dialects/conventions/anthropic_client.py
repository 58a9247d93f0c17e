"""The Anthropic client's own spans: everything of a call but its content. Another span of the call may have that.

https://github.com/anthropics/anthropic-sdk-python
"""

from etl.dialects.conventions import genai
from etl.dialects.shapes.values import flag_of
from etl.dialects.spans import LlmCall, Span

DIALECT = "anthropic"
SCOPE = "com.anthropic.sdk.python"


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return span.scope == SCOPE


def read(span: Span) -> LlmCall | None:
    """Read a model call; None for the client's other requests."""
    if not span.name.startswith("anthropic.messages.") or "gen_ai.request.model" not in span.attributes:
        return None
    call = genai.read_call(span, DIALECT)
    call.api = "messages"
    if call.error is not None and call.error["code"] is None and call.error["http_status"] is not None:
        call.error["code"] = call.error["type"]  # the provider's, not an exception's name
    if call.streamed is None:
        call.streamed = flag_of(span.attributes, "anthropic.request.stream")
    return call
