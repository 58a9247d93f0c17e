"""Model calls of a judge are no transitions, whoever's judge it is."""

import pytest

from etl.settings import EtlConfig
from etl.transform import transform
from otel_exporter.schema import EVALUATION_NAME, EVALUATION_SCORE
from tests.spans import Span, llm, logs_frame, span, spans_frame

JUDGES: dict[str, Span] = {
    "openinference": span("judge", parent="root", attributes={"openinference.span.kind": "EVALUATOR"}),
    "langfuse": span("judge", parent="root", attributes={"langfuse.observation.type": "evaluator"}),
    "mlflow": span("judge", parent="root", attributes={"mlflow.spanType": '"EVALUATOR"'}),
    "genai": span("judge", parent="root", attributes={"gen_ai.operation.name": "evaluate"}),
    "result": span("judge", parent="root", attributes={EVALUATION_NAME: "style", EVALUATION_SCORE: 0.5}),
    "ragas": span("judge", parent="root", scope="ragas.metrics"),
    "deepeval": span("judge", parent="root", scope="DeepEval"),
    "agentlightning": span("agentlightning.annotation", parent="root", attributes={"agentlightning.reward.0.value": 1}),
}


@pytest.mark.parametrize("kind", JUDGES)
def test_what_a_judge_asks_is_no_action_of_the_agent(kind: str) -> None:
    """Calls below it, at any depth, are set aside; those beside it stay."""
    judge = JUDGES[kind]
    spans = [
        span("root", end=9),
        judge,
        span("inside", parent=judge["name"], start=2),
        llm("judging", parent="inside", start=3),
        llm("acting", parent="root", start=1),
    ]

    dataset = transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0))

    assert dataset.counts["calls"] == {"in": 2, "transitions": 1, "other_choices": 0, "rejected": {"evaluator": 1}}
    assert dataset.counts["spans"]["used"]["evaluation"] == 1
