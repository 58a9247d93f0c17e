"""Properties of the whole transformation, over any set of spans."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import Span, agent, evaluation, gateway, llm, logs_frame, reward_record, span, spans_frame, tool

NUM_NAMES = 12


JUDGE = {"openinference.span.kind": "EVALUATOR"}
EMBEDDING = {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "e"}
ANNOTATED = {"trace.annotations.0.annotation.name": "solved", "trace.annotations.0.annotation.score": 0.25}
NAMES = ("outcome", "style", "solved")
VALUES = (None, -1.0, 0.0, 0.5, 1.0)
"""Sums of these are exact in binary."""


def scores() -> st.SearchStrategy[dict[str, Any]]:
    """Scores as span events, some with a label alone."""
    return st.builds(
        lambda value, name, at: evaluation(value, name=name, at=at, label="seen"),
        st.sampled_from(VALUES),
        st.sampled_from(NAMES),
        st.integers(0, 30),
    )


def records() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Scores as log records, of spans and traces that may not be there."""
    one = st.builds(
        lambda value, trace, named, name, at: reward_record(value, trace=trace, span_name=named, name=name, at=at),
        st.sampled_from([-1.0, 0.5, 1.0]),
        st.sampled_from(["t", "u", "gone"]),
        st.sampled_from([None, "s0", "s1", "gone"]),
        st.sampled_from(NAMES),
        st.integers(0, 30),
    )
    return st.lists(one, max_size=4)


@st.composite
def forests(draw: st.DrawFn) -> list[Span]:
    """Spans of every kind, in up to three traces, under any parents: orphans, cycles and self-parents included."""
    size = draw(st.integers(1, NUM_NAMES))
    return [draw_span(draw, f"s{number}") for number in range(size)]


def draw_span(draw: st.DrawFn, name: str) -> Span:
    """Draw one span."""
    start = draw(st.integers(0, 20))
    common: dict[str, Any] = {
        "trace": draw(st.sampled_from(["t", "u", "v"])),
        "parent": draw(st.one_of(st.none(), st.integers(0, NUM_NAMES).map(lambda number: f"s{number}"))),
        "start": start,
        "end": start + draw(st.integers(0, 5)),
        "status": draw(st.sampled_from(["unset", "ok", "error"])),
        "seq": draw(st.integers(1, 3)),
    }
    kind = draw(st.sampled_from(["plain", "llm", "gateway", "tool", "agent", "judge", "embedding"]))
    common["events"] = draw(st.lists(scores(), max_size=2))
    if kind == "plain":
        return span(name, attributes=draw(st.sampled_from([{}, ANNOTATED])), **common)
    if kind in {"judge", "embedding"}:
        return span(name, attributes=JUDGE if kind == "judge" else EMBEDDING, **common)
    if kind == "agent":
        return agent(name, agent_name=draw(st.sampled_from(["planner", "critic"])), **common)
    if kind == "tool":
        return tool(name, tool_name="search", call_id=draw(st.sampled_from([None, "call_1"])), **common)
    said = draw(st.sampled_from(["hello", "bye"]))
    response_id = draw(st.sampled_from([None, "r1", "r2"]))
    make = gateway if kind == "gateway" else llm
    calls = draw(st.sampled_from([[], [("call_1", "search", {"q": 1})]]))
    return make(name, said=said, response_id=response_id, calls=calls, **common)


def run(spans: pl.DataFrame, logs: Sequence[dict[str, Any]] = ()) -> Dataset:
    """Run the ETL, taking every trace as complete."""
    return transform(spans, logs_frame(logs), EtlConfig(complete_after=0))


def same(one: Dataset, other: Dataset, *, tables: tuple[str, ...] | None = None) -> None:
    """Assert that two runs published the same."""
    for table in tables or tuple(one.tables):
        assert_frame_equal(one.tables[table], other.tables[table])


@settings(deadline=None)
@given(forests(), records(), st.randoms(use_true_random=False))
def test_the_order_of_spans_does_not_matter(spans: list[Span], logs: list[dict[str, Any]], random: Any) -> None:
    """Spans and records arrive in any order."""
    shuffled, mixed = list(spans), list(logs)
    random.shuffle(shuffled)
    random.shuffle(mixed)

    same(run(spans_frame(spans), logs), run(spans_frame(shuffled), mixed))


@given(forests(), st.randoms(use_true_random=False))
def test_how_spans_were_divided_into_requests_does_not_matter(spans: list[Span], random: Any) -> None:
    """Over whichever requests they came: only the first and the last request tell of it."""
    divided = [{**one, "received_seq": random.randint(1, 9)} for one in spans]
    once, other = run(spans_frame(without_doubles(spans))), run(spans_frame(without_doubles(divided)))

    for table in ("llm_calls", "tool_calls", "rewards"):
        assert_frame_equal(once.tables[table], other.tables[table])
    for table in ("episodes", "transitions"):
        told = ("revision", "first_seq")
        assert_frame_equal(once.tables[table].drop(told, strict=False), other.tables[table].drop(told, strict=False))


def without_doubles(spans: list[Span]) -> list[Span]:
    """Return the first span of each id: which copy is kept may depend on when it came."""
    return list({(one["trace_id"], one["span_id"]): one for one in reversed(spans)}.values())


@given(forests(), records())
def test_rewards_are_conserved(spans: list[Span], logs: list[dict[str, Any]]) -> None:
    """What was given is what episodes and steps have, and what was not used, exactly; and every score says which."""
    dataset = run(spans_frame(spans), logs)

    rewards, transitions, episodes = (dataset.tables[name] for name in ("rewards", "transitions", "episodes"))
    unused = rewards.filter(~pl.col("used"))
    assert not unused["reason"].is_in(["outcome", "step"]).any()
    assert total(rewards["value"]) == sum(
        map(total, (episodes["outcome"], transitions["reward_step"], unused["value"])), Fraction()
    )
    with_steps = episodes.filter(pl.col("num_transitions") > 0)
    assert total(transitions["reward_outcome"]) == total(with_steps["outcome"])
    parts = pl.sum_horizontal(
        pl.col("reward_outcome"), pl.col("reward_step"), pl.col("reward_tool_status") * pl.col("air_scale")
    )
    off = transitions.select((pl.col("reward").fill_null(0.0) - parts).abs().max()).item()
    assert off is None or off < 1e-9


def total(values: pl.Series) -> Fraction:
    """Add up what is known, without rounding."""
    return sum(map(Fraction, values.drop_nulls()), Fraction())


@settings(deadline=None)
@given(forests())
def test_spans_that_come_twice_change_nothing_but_the_count(spans: list[Span]) -> None:
    """Delivery is at least once; the second copy is rejected, with its reason."""
    once, twice = run(spans_frame(spans)), run(spans_frame(spans + spans))

    same(once, twice, tables=("llm_calls", "tool_calls", "rewards", "episodes", "transitions"))
    duplicates = twice.tables["rejected"].filter(pl.col("reason") == "duplicate").height
    assert duplicates == once.tables["rejected"].filter(pl.col("reason") == "duplicate").height + len(spans)


@settings(deadline=None)
@given(forests())
def test_every_span_is_counted_once(spans: list[Span]) -> None:
    """Spans in = used + ignored + waiting + rejected, and every span is in exactly one episode or rejected."""
    dataset = run(spans_frame(spans))

    counts = dataset.counts["spans"]
    parts = [*counts["used"].values(), *counts["ignored"].values(), *counts["rejected"].values(), counts["waiting"]]
    assert sum(parts) == counts["in"] == len(spans)
    rejected = dataset.tables["rejected"].filter(pl.col("stage") == "clean").height
    assert int(dataset.tables["episodes"]["num_spans"].sum() or 0) + rejected == len(spans)


@settings(deadline=None)
@given(forests())
def test_every_call_is_a_transition_or_rejected(spans: list[Span]) -> None:
    """No call is lost and none appears twice; no transition is without a state."""
    dataset = run(spans_frame(spans))

    transitions = dataset.tables["transitions"]
    rejected = dataset.tables["rejected"].filter(pl.col("stage") == "transitions").height
    assert transitions.height + rejected == dataset.tables["llm_calls"].height
    assert transitions.select("trace_id", "span_id").n_unique() == transitions.height
    assert transitions["observation"].null_count() == 0
    calls = dataset.counts["calls"]
    assert calls["in"] == calls["transitions"] + sum(calls["rejected"].values())
    assert int(dataset.tables["episodes"]["num_transitions"].sum() or 0) == transitions.height


@settings(deadline=None)
@given(forests())
def test_every_reward_is_used_once_or_says_why_not(spans: list[Span]) -> None:
    """At most one outcome an episode, and it is the one the transitions carry."""
    dataset = run(spans_frame(spans))

    rewards = dataset.tables["rewards"]
    assert rewards["reason"].null_count() == 0
    assert dataset.counts["rewards"] == dict(rewards.group_by("reason").len().iter_rows())
    outcomes = rewards.filter(pl.col("reason") == "outcome")
    assert outcomes.select("project", "episode_id").n_unique() == outcomes.height
    assert sorted(outcomes["value"]) == sorted(dataset.tables["episodes"]["outcome"].drop_nulls())


def test_no_spans_are_no_rows() -> None:
    """An empty window is a window."""
    dataset = run(spans_frame([]))

    assert all(rows.height == 0 for rows in dataset.tables.values())


def test_a_span_without_identity_is_rejected() -> None:
    """It cannot be placed, and is counted."""
    broken = {**span("a"), "span_id": None}

    dataset = run(spans_frame([broken]))

    assert dataset.counts["spans"]["rejected"] == {"no_identity": 1}


def test_an_unknown_dialect_is_seen() -> None:
    """Spans nobody reads that look like model traffic are counted by scope."""
    stranger = span("x", scope="brand.new", attributes={"llm.brandnew.model": "m", "llm.brandnew.messages": "[]"})

    assert run(spans_frame([stranger])).counts["unread_scopes"] == {"brand.new": 1}


def test_a_deep_chain_and_a_wide_fan_are_no_trouble() -> None:
    """No recursion, and every span is there: agents in agents, and calls side by side."""
    deep = [
        agent(f"d{n}", agent_name=f"a{n}", trace="deep", parent=None if n == 0 else f"d{n - 1}", end=9)
        for n in range(1_200)
    ]
    wide = [llm(f"w{n}", trace="wide", parent="root", start=n, end=n + 0.5) for n in range(2_000)]
    spans = [*deep, llm("bottom", trace="deep", parent="d1199"), span("root", trace="wide", end=5_000), *wide]

    dataset = run(spans_frame(spans))

    assert sum(dataset.counts["spans"]["used"].values()) == len(spans) - 1
    assert dataset.tables["llm_calls"].filter(pl.col("agent") == "a1199").height == 1
    assert dataset.tables["transitions"].height == 2_001
