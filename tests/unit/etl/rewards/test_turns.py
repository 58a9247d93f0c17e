"""Ratings of turns within one trace are outcomes of their own."""

from typing import Any

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from otel_exporter.schema import EPISODE_ID
from tests.spans import Span, agent, evaluation, llm, logs_frame, reward_record, span, spans_frame

VALUES = (-1.0, 1.0, 1.0)


def run(*spans: Span, logs: list[dict[str, Any]] | None = None) -> Dataset:
    """Run the ETL over spans and log records, taking every trace as complete."""
    return transform(spans_frame(spans), logs_frame(logs or []), EtlConfig(complete_after=0))


def turns(name: str) -> list[Span]:
    """Return three runs of an agent, one after the other in one trace, each of two calls and rated by a name."""
    found = [span("session", end=99)]
    for number, value in enumerate(VALUES):
        at, run_name = 10.0 * number, f"run {number}"
        rating = [evaluation(value, name=name)]
        found.append(agent(run_name, agent_name="bot", parent="session", start=at + 1, end=at + 9, events=rating))
        found += [llm(f"{number}{c}", parent=run_name, start=at + 2 + c, end=at + 2.5 + c) for c in (0, 1)]
    return found


def returns(dataset: Dataset) -> list[tuple[Any, ...]]:
    """Return outcome and return of every transition, in the order they began."""
    return dataset.tables["transitions"].sort("start_ns").select("outcome", "return_").rows()


def test_rated_runs_are_outcomes_of_their_own() -> None:
    """No turn is trained with the praise of another, whatever the scores are called."""
    expected = [(value, value) for value in VALUES for _ in range(2)]
    for name in ("outcome", "user_feedback"):
        dataset = run(*turns(name))

        assert returns(dataset) == expected
        assert set(dataset.tables["rewards"]["reason"]) == {"outcome"}


def test_rated_calls_end_a_turn_each() -> None:
    """What led up to a rated answer is part of its turn."""
    calls = [llm(f"c{n}", parent="root", start=n * 3 + 1, end=n * 3 + 2) for n in range(4)]
    for call, value in ((calls[1], -1.0), (calls[3], 1.0)):
        call["events"] = span("x", events=[evaluation(value)])["events"]

    dataset = run(span("root", end=20), *calls)

    assert returns(dataset) == [(-1.0, -1.0), (-1.0, -1.0), (1.0, 1.0), (1.0, 1.0)]
    assert dataset.tables["episodes"].filter(num_transitions=2)["outcome"].sort().to_list() == [-1.0, 1.0]


def test_quality_of_a_part_divides_nothing() -> None:
    """Other calls stand beside the scored runs, so these are parts of one attempt."""
    dataset = run(*turns("quality"), llm("sums up", parent="session", start=50))

    assert dataset.tables["episodes"].height == 1
    assert set(dataset.tables["rewards"]["reason"]) == {"step"}


def test_a_score_of_the_whole_keeps_it_whole() -> None:
    """Then those of its runs are steps."""
    dataset = run(*turns("outcome"), logs=[reward_record(0.5)])

    assert dataset.tables["episodes"]["outcome"].to_list() == [0.5]
    assert sorted(dataset.tables["rewards"]["reason"]) == ["outcome", "step", "step", "step"]


def test_what_is_named_one_attempt_stays_one() -> None:
    """The last of its parts that was scored so says how it ended."""
    spans = turns("outcome")
    spans[0] = span("session", end=99, attributes={EPISODE_ID: "attempt"})

    dataset = run(*spans)

    assert dataset.tables["episodes"].select("episode_id", "outcome").rows() == [("attempt", 1.0)]
    assert sorted(dataset.tables["rewards"]["reason"]) == ["outcome", "step", "step"]


def test_parts_at_the_same_time_stay_one() -> None:
    """Sub-agents at work for one attempt, each scored as the outcome of its own part."""
    parts = [
        part
        for number, value in enumerate(VALUES)
        for part in (
            agent(f"run {number}", agent_name="bot", parent="root", start=1, end=9, events=[evaluation(value)]),
            llm(f"call {number}", parent=f"run {number}", start=2 + number / 10, end=4),
        )
    ]

    dataset = run(span("root", end=20), *parts)

    assert dataset.tables["episodes"].height == 1


def test_turns_that_touch_are_two() -> None:
    """By a coarse clock one begins in the very tick in which the other ended."""
    calls = [llm(f"c{n}", parent="root", start=n, end=n + 1) for n in (1, 2)]
    for call, value in zip(calls, (-1.0, 1.0), strict=True):
        call["events"] = span("x", events=[evaluation(value)])["events"]

    assert returns(run(span("root", start=1, end=3), *calls)) == [(-1.0, -1.0), (1.0, 1.0)]


def test_calls_rated_in_one_tick_stay_one() -> None:
    """Nothing says which of them came first."""
    calls = [llm(f"c{n}", parent="root", start=1, end=1) for n in (1, 2)]
    for call in calls:
        call["events"] = span("x", events=[evaluation(1.0)])["events"]

    assert run(span("root", start=1, end=3), *calls).tables["episodes"].height == 1
