"""Published rows of episodes whose spans are gone, and what is given to them afterwards."""

import json
from typing import Any

import polars as pl

from etl.rewards.outlived import forgotten, keep_outlived
from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from otel_exporter.schema import EPISODE_ID
from tests.spans import evaluation, identifier, llm, logs_frame, reward_record, span, spans_frame

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
