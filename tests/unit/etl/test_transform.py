"""Properties of the whole transformation, over any set of spans."""

from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import Span, agent, evaluation, gateway, llm, logs_frame, span, spans_frame, tool

NUM_NAMES = 12


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
    kind = draw(st.sampled_from(["plain", "llm", "gateway", "tool", "agent"]))
    if kind == "plain":
        events = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]).map(evaluation), max_size=2))
        return span(name, events=events, **common)
    if kind == "agent":
        return agent(name, agent_name=draw(st.sampled_from(["planner", "critic"])), **common)
    if kind == "tool":
        return tool(name, tool_name="search", call_id=draw(st.sampled_from([None, "call_1"])), **common)
    said = draw(st.sampled_from(["hello", "bye"]))
    response_id = draw(st.sampled_from([None, "r1", "r2"]))
    make = gateway if kind == "gateway" else llm
    calls = draw(st.sampled_from([[], [("call_1", "search", {"q": 1})]]))
    return make(name, said=said, response_id=response_id, calls=calls, **common)


def run(spans: pl.DataFrame) -> Dataset:
    """Run the ETL, taking every trace as complete."""
    return transform(spans, logs_frame(), EtlConfig(complete_after=0))


def same(one: Dataset, other: Dataset, *, tables: tuple[str, ...] | None = None) -> None:
    """Assert that two runs published the same."""
    for table in tables or tuple(one.tables):
        assert_frame_equal(one.tables[table], other.tables[table])


@settings(deadline=None)
@given(forests(), st.randoms(use_true_random=False))
def test_the_order_of_spans_does_not_matter(spans: list[Span], random: Any) -> None:
    """Spans arrive as they end, in any order."""
    shuffled = list(spans)
    random.shuffle(shuffled)

    same(run(spans_frame(spans)), run(spans_frame(shuffled)))


@settings(deadline=None, max_examples=50)
@given(forests(), st.randoms(use_true_random=False))
def test_how_spans_were_divided_into_requests_does_not_matter(spans: list[Span], random: Any) -> None:
    """Over whichever requests they came: only the revision tells of it."""
    divided = [{**one, "received_seq": random.randint(1, 9)} for one in spans]
    once, other = run(spans_frame(without_doubles(spans))), run(spans_frame(without_doubles(divided)))

    for table in ("llm_calls", "tool_calls", "rewards"):
        assert_frame_equal(once.tables[table], other.tables[table])
    for table in ("episodes", "transitions"):
        assert_frame_equal(once.tables[table].drop("revision"), other.tables[table].drop("revision"))


def without_doubles(spans: list[Span]) -> list[Span]:
    """Return the first span of each id: which copy is kept may depend on when it came."""
    return list({(one["trace_id"], one["span_id"]): one for one in reversed(spans)}.values())


@settings(deadline=None, max_examples=50)
@given(forests())
def test_rewards_are_conserved(spans: list[Span]) -> None:
    """What the transitions carry is what was used of the rewards given, but for those of calls that are none."""
    dataset = run(spans_frame(spans))

    rewards, transitions = dataset.tables["rewards"], dataset.tables["transitions"]
    with_steps = dataset.tables["episodes"].filter(pl.col("num_transitions") > 0).select("project", "episode_id")
    outcomes = rewards.filter(pl.col("reason") == "outcome").join(with_steps, on=["project", "episode_id"], how="semi")
    assert float(outcomes["value"].sum()) == float(transitions["reward_outcome"].sum())
    given = float(rewards.filter(pl.col("reason") == "step")["value"].sum())
    judged = transitions.select("trace_id", "span_id").height
    assert float(transitions["reward_step"].sum()) <= given or judged == 0
    parts = pl.sum_horizontal(
        pl.col("reward_outcome"), pl.col("reward_step"), pl.col("reward_tool_status") * pl.col("air_scale")
    )
    off = transitions.select((pl.col("reward").fill_null(0.0) - parts).abs().max()).item()
    assert off is None or off < 1e-9


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
    assert int(dataset.tables["episodes"]["num_transitions"].sum() or 0) == transitions.height


@settings(deadline=None)
@given(forests())
def test_every_reward_is_used_once_or_says_why_not(spans: list[Span]) -> None:
    """At most one outcome an episode, and it is the one the transitions carry."""
    dataset = run(spans_frame(spans))

    rewards = dataset.tables["rewards"]
    assert rewards["reason"].null_count() == 0
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
