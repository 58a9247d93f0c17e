"""Where rewards are written, and how they are read."""

import json
from typing import Any

import pytest

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from otel_exporter.schema import EVALUATION_NAME, EVALUATION_SCORE
from tests.spans import Span, evaluation, identifier, llm, logs_frame, reward_record, span, spans_frame


def run(*spans: Span, logs: list[dict[str, Any]] | None = None) -> Dataset:
    """Run the ETL over spans and log records, taking every trace as complete."""
    return transform(spans_frame(spans), logs_frame(logs or []), EtlConfig(complete_after=0))


def table(*spans: Span, logs: list[dict[str, Any]] | None = None) -> list[tuple[Any, ...]]:
    """Return name, value and reason of every reward."""
    return sorted(run(*spans, logs=logs).tables["rewards"].select("name", "value", "reason").iter_rows())


def openinference(prefix: str, word: str, name: str, score: float) -> dict[str, Any]:
    """Return an annotation as attributes."""
    return {f"{prefix}.0.{word}.name": name, f"{prefix}.0.{word}.score": score, f"{prefix}.0.{word}.label": "good"}


def test_agentlightning_annotations_are_rewards() -> None:
    """The link names the judged call; without a name the first reward is the primary one."""
    note = span(
        "agentlightning.annotation",
        parent="root",
        start=5,
        attributes={
            "agentlightning.reward.0.value": 0.5,
            "agentlightning.link.0.key_match": "gen_ai.response.id",
            "agentlightning.link.0.value_match": "r1",
        },
    )
    dataset = run(span("root", end=9), llm("a", parent="root", start=1, response_id="r1"), note)

    (row,) = dataset.tables["rewards"].to_dicts()
    assert (row["name"], row["value"], row["reason"]) == ("primary", 0.5, "step")


@pytest.mark.parametrize(("written", "value"), [(True, 1.0), (False, 0.0), ("true", 1.0), ("0.5", 0.5), (2, 2.0)])
def test_a_score_is_a_number_however_it_is_written(written: object, value: float) -> None:
    """A truth value is one too, in a record, an event or an attribute."""
    fields = {EVALUATION_NAME: "outcome", EVALUATION_SCORE: written}
    event = {**evaluation(None), "attributes": fields}
    annotated = {"trace.annotations.0.annotation.name": "outcome", "trace.annotations.0.annotation.score": written}
    record = {**reward_record(0.0), "attributes": json.dumps(fields)}

    for dataset in (
        run(span("root", end=9, events=[event]), llm("a", parent="root")),
        run(span("root", end=9, attributes=annotated), llm("a", parent="root")),
        run(span("root", end=9), llm("a", parent="root"), logs=[record]),
    ):
        assert dataset.tables["episodes"]["outcome"].to_list() == [value]


@pytest.mark.parametrize(("prefix", "word"), [("annotations", "annotation"), ("evaluations", "evaluation")])
def test_annotations_on_a_span_are_rewards_of_it(prefix: str, word: str) -> None:
    """On a model call a step's, with the label; for the trace as a whole the outcome."""
    spans = [
        span("root", end=9, attributes=openinference(f"trace.{prefix}", word, "solved", 1.0)),
        llm("a", parent="root", attributes=openinference(prefix, word, "style", 0.5)),
    ]

    assert table(*spans) == [("solved", 1.0, "outcome"), ("style", 0.5, "step")]


def test_a_span_that_is_a_result_judges_its_parent() -> None:
    """As the conventions place the event; a response id says it more exactly."""
    result = {EVALUATION_NAME: "style", EVALUATION_SCORE: 0.5}
    spans = [
        span("root", end=9),
        llm("a", parent="root", response_id="r1"),
        span("judge of a", parent="a", attributes=result),
        span("judge by id", parent="root", attributes={**result, EVALUATION_NAME: "n", "gen_ai.response.id": "r1"}),
    ]

    assert table(*spans) == [("n", 0.5, "step"), ("style", 0.5, "step")]


def test_a_reward_of_a_call_that_is_no_transition_says_so() -> None:
    """Nothing could take it."""
    spans = [
        span("root", end=9),
        llm("a", parent="root", said=None, status="error", events=[evaluation(0.5, name="style")]),
    ]

    assert table(*spans) == [("style", 0.5, "not_a_transition")]


def test_a_response_id_that_several_traces_have_names_the_call_of_its_own() -> None:
    """Stubs give the same ids again and again; of two calls elsewhere none is guessed."""
    result = {EVALUATION_NAME: "style", EVALUATION_SCORE: 0.5, "gen_ai.response.id": "r1"}

    def record(trace: str) -> dict[str, Any]:
        return {**reward_record(0.5, trace=trace, span_name="gone"), "attributes": json.dumps(result)}

    calls = [llm(name, trace=name, response_id="r1") for name in ("one", "two")]

    assert table(*calls, logs=[record("one")]) == [("style", 0.5, "step")]
    assert table(*calls, logs=[record("three")]) == [("style", 0.5, "no_such_span")]


def test_a_record_within_an_evaluators_span_judges_what_that_is_linked_to() -> None:
    """An evaluator that logs its result in its own context, in a trace of its own, says by its link whom it means."""
    link = {"trace_id": identifier("t", 32), "span_id": identifier("root", 16)}
    judging = span("judging", trace="later", start=30, attributes={"gen_ai.operation.name": "evaluate"})
    record = reward_record(0.25, trace="later", span_name="judging")

    dataset = run(span("root", end=9), llm("a", parent="root"), {**judging, "links": json.dumps([link])}, logs=[record])

    (row,) = dataset.tables["rewards"].to_dicts()
    assert (row["reason"], row["judges"], row["judged_trace_id"]) == ("outcome", "episode", identifier("t", 32))
    assert dataset.tables["transitions"]["outcome"].to_list() == [0.25]


@pytest.mark.parametrize(
    "written",
    [
        pytest.param({"body": json.dumps({EVALUATION_NAME: "outcome", EVALUATION_SCORE: 0.25})}, id="as the body"),
        pytest.param(
            {"attributes": json.dumps({EVALUATION_NAME: "outcome", "gen_ai.evaluation.score": 0.25})}, id="first draft"
        ),
    ],
)
def test_a_record_says_its_score_in_its_body_or_by_the_drafts_name(written: dict[str, Any]) -> None:
    """Events had their fields as their body before they had them as attributes, and the score had another name."""
    record = {**reward_record(0.0), "attributes": "{}", **written}

    assert table(span("root", end=9), llm("a", parent="root"), logs=[record]) == [("outcome", 0.25, "outcome")]
