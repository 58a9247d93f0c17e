"""What of a call its span keeps: everything, everything with secrets replaced, or nothing of what was said.

Token ids and log-probabilities say what the text says, so they go where the text goes or was changed: nothing can be
learned from such a call, which is the price. What was counted stays: tokens, durations, parameters, policy.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan

from foundation.errors import SettingsError
from otel_exporter import schema as names
from otel_exporter.redaction import Redactor

CAPTURE_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CAPTURES = {
    "true": True, "1": True, "span_only": True, "span_and_event": True,
    "false": False, "0": False, "no_content": False, "event_only": False,
}  # fmt: skip
"""What OpenTelemetry's variable may say, in its older form and its newer one. The gateway writes no events."""

SAID = frozenset(
    {
        "gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions",
        "gen_ai.request.stop_sequences", names.PROMPT_TOKEN_IDS, names.LOGPROBS_MODE,
    }
)  # fmt: skip
SAID_BY_A_CHOICE = re.compile(r"spanloop\.choice\.\d+\.")


@dataclass(frozen=True)
class Privacy:
    """What spans keep of what was said."""

    captures_content: bool = True
    redactor: Redactor | None = None

    def apply(self, span: ReadableSpan) -> ReadableSpan:
        """Return a span without what it is not to say; the same one where that is nothing."""
        if self.captures_content and self.redactor is None:
            return span
        kept = dict(span.attributes or {})
        if not self.captures_content:
            kept = {name: value for name, value in kept.items() if not is_said(name)}
        if self.redactor is not None:
            [kept], _ = self.redactor.span(kept)
        return ReadableSpan(
            name=span.name,
            context=span.get_span_context(),
            parent=span.parent,
            resource=span.resource,
            attributes=kept,
            kind=span.kind,
            instrumentation_scope=span.instrumentation_scope,
            status=span.status,
            start_time=span.start_time,
            end_time=span.end_time,
        )


def is_said(name: str) -> bool:
    """Tell whether an attribute holds what was said, as text or as token ids."""
    return name in SAID or SAID_BY_A_CHOICE.match(name) is not None


def captures_content(setting: bool | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether content is kept: the setting, else OpenTelemetry's variable, else yes, since training needs it."""
    if setting is not None:
        return setting
    said = environment.get(CAPTURE_VARIABLE, "").strip()
    if not said:
        return True
    if said.lower() not in CAPTURES:
        raise SettingsError(
            f"{CAPTURE_VARIABLE} is {said!r}, which says neither yes nor no",
            hint="Use true or false, or NO_CONTENT, SPAN_ONLY, EVENT_ONLY, SPAN_AND_EVENT.",
        )
    return CAPTURES[said.lower()]
