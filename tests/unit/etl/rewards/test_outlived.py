"""Published rows of episodes whose spans are gone, and what is given to them afterwards."""

import json
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from etl.rewards.outlived import forgotten, keep_outlived
from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from otel_exporter.schema import EPISODE_ID
from tests.spans import Span, agent, evaluation, identifier, llm, logs_frame, reward_record, span, spans_frame, tool

CONFIG = EtlConfig(complete_after=0)
RESPONSE, SESSION = "gen_ai.response.id", "gen_ai.conversation.id"


def published(*events: dict[str, Any]) -> dict[str, pl.DataFrame]:
    """Return the rows of an episode of two calls, the root judged by the events."""
    root = span("root", end=9, events=list(events), attributes={SESSION: "s1", EPISODE_ID: "e1"})
    calls = [llm(name, parent="root", start=number, response_id=name) for number, name in enumerate("ab", start=1)]
    return transform(spans_frame([root, *calls]), logs_frame(), CONFIG).tables


def given(before: dict[str, pl.DataFrame], *records: dict[str, Any]) -> Dataset:
    """Return what is published when its spans are gone and the records are all there is."""
    logs = logs_frame(records)
    dataset = transform(spans_frame([]), logs, CONFIG)
    keep_outlived(dataset, before, logs, CONFIG)
    return dataset


def named(value: float, **names: str) -> dict[str, Any]:
    """Return a record that names what it judges."""
    record = reward_record(value, trace="t")
    return {**record, "attributes": json.dumps({**json.loads(record["attributes"]), **names})}


def test_rows_stay_as_they_were_when_nothing_is_given() -> None:
    """Whatever else the run had to do."""
    before = published(evaluation(1.0))

    after = given(before).tables

    for name in ("episodes", "transitions", "llm_calls", "rewards"):
        assert after[name].equals(before[name]), name


def test_a_late_outcome_changes_the_episode_and_its_transitions() -> None:
    """And the revision says which request told of it."""
    after = given(published(), reward_record(1.0, trace="t", span_name="root", seq=9)).tables

    assert after["episodes"].select("outcome", "revision").rows() == [(1.0, 9)]
    assert after["transitions"]["outcome"].to_list() == [1.0, 1.0]
    assert after["rewards"]["reason"].to_list() == ["outcome"]


def test_a_late_reward_of_a_call_is_a_step() -> None:
    """By its span, or by its answer's id."""
    for record in (reward_record(0.5, span_name="b", name="helpful"), named(0.5, **{RESPONSE: "b"})):
        rows = given(published(evaluation(1.0)), record).tables["transitions"]

        assert rows["reward_step"].to_list() == [None, 0.5]
        assert rows["outcome"].to_list() == [1.0, 1.0]


def test_the_same_reward_again_is_the_same_reward() -> None:
    """A record that was read in an earlier night is not counted twice."""
    record = reward_record(1.0, span_name="root")
    once = given(published(), record).tables

    twice = given(once, record).tables

    assert twice["rewards"].equals(once["rewards"])


def test_a_reward_of_somebody_else_is_left_to_others() -> None:
    """It names a trace that these rows know nothing of, and stays as loose as it was."""
    after = given(published(), reward_record(1.0, trace="elsewhere", span_name="x")).tables

    assert after["episodes"]["outcome"].to_list() == [None]
    assert after["rewards"].select("trace_id", "used").rows() == [(identifier("elsewhere", 32), False)]


def test_published_rewards_whose_records_are_gone_are_found() -> None:
    """They go on counting while the spans are there; those whose records are there are read anew."""
    record = reward_record(1.0, span_name="root")
    rewards = given(published(), record).tables["rewards"]

    assert forgotten(rewards, logs_frame([record])) == []
    (lost,) = forgotten(rewards, logs_frame())
    assert (lost.name, lost.value, lost.reason) == ("outcome", 1.0, None)
    assert forgotten(rewards.clear(), logs_frame()) == []


def crew(name: str, *, seq: int, attributes: dict[str, Any] | None = None, **rest: Any) -> list[Span]:
    """Return an episode in which an agent has another one look something up, deep below a step of a chain."""
    common: dict[str, Any] = {"trace": name, "seq": seq}
    writer, reader = (agent(f"{name} {role}", agent_name=role, **own, **common) for role, own in (
        ("writer", {"parent": f"{name} root", "start": 1, "end": 8}),
        ("reader", {"parent": f"{name} hand over", "start": 3, "end": 6}),
    ))  # fmt: skip
    ask = {"calls": [(name, "look", {})], "response_id": f"{name}-1", "agent": "writer"}
    return [
        span(f"{name} root", trace=name, end=9, seq=seq, attributes=attributes, **rest),
        writer,
        llm(f"{name} 1", parent=f"{name} writer", start=1, end=2, **ask, **common),
        tool(f"{name} hand over", tool_name="look", call_id=name, parent=f"{name} writer", start=2, end=7, **common),
        reader,
        span(f"{name} step", parent=f"{name} reader", start=3, end=6, **common),
        llm(f"{name} 2", parent=f"{name} step", start=4, end=5, response_id=f"{name}-2", agent="reader", **common),
        llm(f"{name} 3", parent=f"{name} writer", start=7, end=8, response_id=f"{name}-3", agent="writer", **common),
    ]


def naming(value: float, name: str, at: float = 20.0, **ids: str) -> dict[str, Any]:
    """Return a record that names no trace."""
    fields = {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": value, **ids}
    return {**reward_record(value, seq=9, at=at), "trace_id": None, "attributes": json.dumps(fields)}


GIVEN: dict[str, list[dict[str, Any]]] = {
    "of a run": [reward_record(0.5, trace="a", span_name="a reader", name="help")],
    "of a run, as its outcome": [reward_record(0.5, trace="a", span_name="a reader")],
    "of a step within a run": [reward_record(0.5, trace="a", span_name="a step", name="help")],
    "of the whole by its agent": [reward_record(0.5, trace="a", span_name="a writer")],
    "of a tool": [reward_record(0.5, trace="a", span_name="a hand over", name="help")],
    "of a run, corrected": [
        reward_record(0.5, trace="a", span_name="a writer", name="help", at=20),
        reward_record(-0.5, trace="a", span_name="a writer", name="help", at=21),
    ],
    "of a run and a call": [
        reward_record(0.5, trace="a", span_name="a reader", name="help"),
        reward_record(0.25, trace="a", span_name="a 2", name="help"),
    ],
    "graded, nearer than any": [reward_record(0.9, trace="a"), reward_record(0.8, trace="b")],
    "by the episode's name": [naming(0.5, "outcome", **{"spanloop.episode.id": "ep"})],
    "by the session": [naming(0.5, "outcome", **{"session.id": "talk"})],
    "by the session, corrected": [naming(v, "outcome", at, **{"session.id": "talk"}) for v, at in ((1.0, 20), (0, 21))],
    "by an answer": [naming(0.5, "help", **{"gen_ai.response.id": "a-2"})],
    "of what is not there": [reward_record(0.5, trace="a", span_name="nobody")],
    "a sum of many": [
        *(reward_record(0.5, trace="a", span_name=f"a {n}", name=f"n{n}") for n in (1, 2, 3)),
        reward_record(1.0, trace="a", span_name="a root"),
        naming(0.25, "outcome", **{"session.id": "talk"}),
    ],
}


@pytest.mark.parametrize("before", [[], [reward_record(0.0, trace="a", span_name="a reader", name="help", at=15)]])
@pytest.mark.parametrize("kind", GIVEN)
def test_a_reward_is_the_same_before_and_after_retention(kind: str, before: list[dict[str, Any]]) -> None:
    """Whatever it was given to, and whatever was given before."""
    talk = {SESSION: "talk"}
    spans = spans_frame([*crew("a", seq=1, attributes={EPISODE_ID: "ep", **talk}), *crew("b", seq=2, attributes=talk)])
    config = EtlConfig(complete_after=0, repetition=0.25, user_reply=0.25)
    expected = transform(spans, logs_frame([*before, *GIVEN[kind]]), config)

    logs = logs_frame(GIVEN[kind])
    dataset = transform(spans_frame([]), logs, config)
    keep_outlived(dataset, transform(spans, logs_frame(before), config).tables, logs, config)

    for table, rows in dataset.tables.items():
        assert_frame_equal(rows, expected.tables[table])
