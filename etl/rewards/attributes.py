"""Rewards that stand on spans as attributes: OpenInference's annotations, and results of the GenAI conventions.

    annotations.N.annotation.{name,score,label,explanation}          of the span
    trace.annotations.N.annotation.…, session.annotations.N.…        of the trace, of the session as a whole
    evaluations.N.evaluation.…                                       the same in other words
    gen_ai.evaluation.{name,score.value,…}                           on a span of its own: of what it is linked to, or
                                                                     of its parent

https://github.com/Arize-ai/openinference/tree/main/spec, https://github.com/open-telemetry/semantic-conventions-genai
"""

from collections.abc import Iterator
from dataclasses import dataclass

from etl.dialects.shapes.values import numbered, score_of, text_of
from etl.dialects.spans import Span
from otel_exporter.schema import EVALUATION_EXPLANATION, EVALUATION_LABEL, EVALUATION_NAME, EVALUATION_SCORE

SOURCE = "span_attribute"
EVALUATION_SCORES = (EVALUATION_SCORE, "gen_ai.evaluation.score")
"""Where a result's score stands: the second is the conventions' first draft, which writers still follow."""
COLLECTIONS = (("annotations", "annotation"), ("evaluations", "evaluation"))
TRACE, SESSION = "trace.", "session."


@dataclass(frozen=True, slots=True)
class Score:
    """One score as it is written."""

    name: str | None
    value: float | None
    label: str | None
    explanation: str | None
    whole: str | None
    """TRACE or SESSION where it is for that as a whole; else it is for the span it stands on."""

    response_id: str | None = None
    is_own_span: bool = False
    """The span it stands on is the judgement itself."""


def scores(span: Span) -> Iterator[Score]:
    """Return the scores among a span's attributes."""
    attributes = span.attributes
    names = "\n".join(attributes)
    for collection, kind in COLLECTIONS:
        if collection not in names:
            continue
        for scope in ("", TRACE, SESSION):
            for fields in numbered(attributes, scope + collection).values():
                yield Score(
                    text_of(fields, f"{kind}.name"),
                    score_of(fields, f"{kind}.score"),
                    text_of(fields, f"{kind}.label"),
                    text_of(fields, f"{kind}.explanation"),
                    scope or None,
                )
    if EVALUATION_NAME in attributes:
        yield Score(
            text_of(attributes, EVALUATION_NAME),
            score_of(attributes, *EVALUATION_SCORES),
            text_of(attributes, EVALUATION_LABEL),
            text_of(attributes, EVALUATION_EXPLANATION),
            None,
            text_of(attributes, "gen_ai.response.id"),
            is_own_span=True,
        )
