"""Says how well the agent did, on the span it did it in."""

import logging
import math
from numbers import Real

from opentelemetry import trace

from otel_exporter.schema import (
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
) -> bool:
    """Add a reward to a span, by default the current one; tell whether it was recorded.

    The reward is an event `gen_ai.evaluation.result`, so every exporter carries it. It must be a finite number; it is
    not recorded, with a warning, when it is none, and when the span has ended or is not sampled. Never raises.
    """
    span = span or trace.get_current_span()
    score = _finite(value)
    if score is None:
        log.warning("reward %r is not recorded: it is not a finite number (%s)", name, type(value).__name__)
        return False
    if not span.is_recording():
        log.warning("reward %r is not recorded: no span is being recorded here", name)
        return False
    attributes: dict[str, str | float] = {EVALUATION_NAME: name, EVALUATION_SCORE: score}
    if label is not None:
        attributes[EVALUATION_LABEL] = label
    if explanation is not None:
        attributes[EVALUATION_EXPLANATION] = explanation
    span.add_event(EVALUATION_EVENT, attributes)
    return True


def _finite(value: object) -> float | None:
    """Return a number as a float, None where it is none or has no finite value as one."""
    try:
        score = float(value) if isinstance(value, Real) else math.nan
    except (OverflowError, ValueError, TypeError):
        return None
    return score if math.isfinite(score) else None
