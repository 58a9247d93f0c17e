"""Says how well the agent did, on the span it did it in, or later by an id of it."""

import logging
import math
from numbers import Real

from opentelemetry import trace

from otel_exporter.schema import (
    EPISODE_ID,
    EVALUATION_EVENT,
    EVALUATION_EXPLANATION,
    EVALUATION_LABEL,
    EVALUATION_NAME,
    EVALUATION_SCORE,
    OUTCOME,
)

log = logging.getLogger(__name__)


def reward(
    value: float,
    name: str = OUTCOME,
    *,
    label: str | None = None,
    explanation: str | None = None,
    span: trace.Span | None = None,
    trace_id: str | int | None = None,
    span_id: str | int | None = None,
    response_id: str | None = None,
    episode_id: str | None = None,
    session_id: str | None = None,
) -> bool:
    """Say how it went; tell whether that is recorded. Never raises.

    Without an id it is about a span, by default the current one: an event `gen_ai.evaluation.result`, so every exporter
    carries it. It is not recorded, with a warning, on a span that has ended or is not sampled.

    With an id it may be given at any time, from any process, and goes to Spanloop directly, by the settings of its
    exporter: the trace, a span in it, the response's id as the model's API returned it, the episode's or the session's.

    The value must be a finite number.
    """
    score = _finite(value)
    if score is None:
        log.warning("reward %r is not recorded: it is not a finite number (%s)", name, type(value).__name__)
        return False
    attributes: dict[str, str | float] = {EVALUATION_NAME: name, EVALUATION_SCORE: score}
    if label is not None:
        attributes[EVALUATION_LABEL] = label
    if explanation is not None:
        attributes[EVALUATION_EXPLANATION] = explanation
    about = {"gen_ai.response.id": response_id, EPISODE_ID: episode_id, "gen_ai.conversation.id": session_id}
    if trace_id is not None or any(about.values()):
        from otel_exporter.later import send

        named = {key: one for key, one in about.items() if one}
        return send({**attributes, **named}, trace_id=trace_id, span_id=span_id)
    span = span or trace.get_current_span()
    if not span.is_recording():
        log.warning("reward %r is not recorded: no span is being recorded here, and it names nothing", name)
        return False
    span.add_event(EVALUATION_EVENT, attributes)
    return True


def _finite(value: object) -> float | None:
    """Return a number as a float, None where it is none or has no finite value as one."""
    try:
        score = float(value) if isinstance(value, Real) else math.nan
    except (OverflowError, ValueError, TypeError):
        return None
    return score if math.isfinite(score) else None
