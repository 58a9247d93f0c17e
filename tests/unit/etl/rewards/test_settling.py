"""Which rewards count."""

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import (
    Span,
    evaluation,
    llm,
    logs_frame,
    reward_record,
    span,
    spans_frame,
)


def run(*spans: Span, logs: list[dict[str, object]] | None = None) -> Dataset:
    """Run the ETL over spans and log records, taking every trace as complete."""
    return transform(spans_frame(spans), logs_frame(logs or []), EtlConfig(complete_after=0))


def reasons(dataset: Dataset) -> dict[float, str]:
    """Return the reason of each reward by its value."""
    return dict(dataset.tables["rewards"].select("value", "reason").iter_rows())


def test_the_outcome_belongs_to_the_last_step() -> None:
    """Earlier steps know nothing: null, not 0."""
    dataset = run(
        span("root", end=9, events=[evaluation(1.0)]),
        llm("a", parent="root", start=1, end=2),
        llm("b", parent="root", start=3, end=4),
    )

    rows = dataset.tables["transitions"]
    assert rows["reward"].to_list() == [None, 1.0]
    assert rows["return_"].to_list() == [1.0, 1.0]
    assert rows["outcome"].to_list() == [1.0, 1.0]


def test_no_reward_is_null_everywhere() -> None:
    """Missing is never 0."""
    dataset = run(llm("a"))

    (row,) = dataset.tables["transitions"].to_dicts()
    assert (row["reward"], row["return_"], row["outcome"], row["reward_outcome"]) == (None, None, None, None)


def test_the_only_reward_of_the_root_is_the_outcome_whatever_its_name() -> None:
    """Teams name their scores as they like."""
    dataset = run(span("root", end=9, events=[evaluation(0.5, name="accuracy")]), llm("a", parent="root"))

    assert dataset.tables["episodes"]["outcome"].to_list() == [0.5]


def test_of_several_names_none_is_guessed() -> None:
    """Without the configured name the outcome stays unknown, and each reward says why it was not used."""
    dataset = run(
        span("root", end=9, events=[evaluation(0.5, name="accuracy"), evaluation(0.9, name="style")]),
        llm("a", parent="root"),
    )

    assert dataset.tables["episodes"]["outcome"].to_list() == [None]
    assert reasons(dataset) == {0.5: "not_the_outcome", 0.9: "not_the_outcome"}


def test_a_later_score_corrects_an_earlier_one() -> None:
    """By the time it was given, whichever way it came."""
    dataset = run(
        span("root", end=9, events=[evaluation(0.0, at=10)]),
        llm("a", parent="root"),
        logs=[reward_record(1.0, at=20)],
    )

    assert dataset.tables["episodes"]["outcome"].to_list() == [1.0]
    assert reasons(dataset) == {0.0: "superseded", 1.0: "outcome"}


def test_an_equal_score_is_a_duplicate() -> None:
    """Counted once, kept twice."""
    dataset = run(
        span("root", end=9, events=[evaluation(1.0, at=10)]),
        llm("a", parent="root"),
        logs=[reward_record(1.0, at=20)],
    )

    assert sorted(dataset.tables["rewards"]["reason"].to_list()) == ["duplicate", "outcome"]


def test_a_score_without_a_value_is_kept_unused() -> None:
    """A label alone is no reward."""
    dataset = run(span("root", end=9, events=[evaluation(None, label="good")]), llm("a", parent="root"))

    (row,) = dataset.tables["rewards"].to_dicts()
    assert (row["value"], row["label"], row["used"], row["reason"]) == (None, "good", False, "no_score")


def test_a_score_for_a_span_that_is_not_there_is_kept_unused() -> None:
    """The judged span may come with a later export."""
    dataset = run(llm("a"), logs=[reward_record(1.0, span_name="gone")])

    assert dataset.tables["rewards"]["reason"].to_list() == ["no_such_span"]


def test_a_score_of_a_model_call_is_a_step_reward() -> None:
    """It belongs to that step and to no other."""
    dataset = run(
        span("root", end=9, events=[evaluation(1.0)]),
        llm("a", parent="root", start=1, end=2, events=[evaluation(0.25, name="helpful")]),
        llm("b", parent="root", start=3, end=4),
    )

    assert dataset.tables["transitions"]["reward_step"].to_list() == [0.25, None]
    assert dataset.tables["transitions"]["return_"].to_list() == [1.25, 1.0]
