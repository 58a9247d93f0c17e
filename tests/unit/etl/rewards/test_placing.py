"""Whose reward it is: what a score was given to, and where there is nobody to give it to."""

import json
from typing import Any

import pytest

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from otel_exporter.schema import EPISODE_ID, EVALUATION_NAME, EVALUATION_SCORE
from tests.spans import (
    Span,
    agent,
    evaluation,
    identifier,
    llm,
    logs_frame,
    reward_record,
    span,
    spans_frame,
    tool,
)

TALK = {"gen_ai.conversation.id": "talk"}


def run(*spans: Span, logs: list[dict[str, Any]] | None = None, **settings: Any) -> Dataset:
    """Run the ETL over spans and log records, taking every trace as complete."""
    return transform(spans_frame(spans), logs_frame(logs or []), EtlConfig(complete_after=0, **settings))


def rewarded(dataset: Dataset) -> dict[str, tuple[float | None, float | None]]:
    """Return reward and outcome of every transition by its span's id."""
    rows = dataset.tables["transitions"].select("span_id", "reward", "outcome").iter_rows()
    return {span_id: (reward, outcome) for span_id, reward, outcome in rows}


def told(dataset: Dataset) -> list[tuple[Any, ...]]:
    """Return what was made of every reward."""
    return sorted(dataset.tables["rewards"].select("value", "judges", "reason").iter_rows(), key=str)


def record(value: float = 1.0, *, name: str = "outcome", **ids: str) -> dict[str, Any]:
    """Return a reward that names no trace, by the attributes it names what it judges with."""
    names = {
        "response": "gen_ai.response.id",
        "episode": EPISODE_ID,
        "conversation": "gen_ai.conversation.id",
        "session": "session.id",
    }
    fields = {EVALUATION_NAME: name, EVALUATION_SCORE: value, **{names[kind]: text for kind, text in ids.items()}}
    kind, text = next(iter(ids.items()))
    stand_in = f"{'session' if kind == 'conversation' else kind}:{text}"
    return {**reward_record(value), "trace_id": stand_in, "attributes": json.dumps(fields)}


def linked(row: Span, *targets: tuple[str, str]) -> Span:
    """Return a span with links to spans, each by the names of its trace and its own."""
    links = [{"trace_id": identifier(trace, 32), "span_id": identifier(name, 16)} for trace, name in targets]
    return {**row, "links": json.dumps(links)}


@pytest.mark.parametrize("by", ["event on the root", "record of the trace", "event on the only call"])
def test_turns_of_a_conversation_are_rated_each_for_itself(by: str) -> None:
    """A session joins no outcomes, whichever way the score came."""
    spans, logs = [], []
    for number, value in enumerate((-1.0, 1.0, 1.0)):
        name, events = f"turn {number}", [evaluation(value, name="user_feedback")]
        common: dict[str, Any] = {"trace": name, "start": 10.0 * number, "attributes": TALK}
        if by == "event on the only call":
            spans.append(llm(name, events=events, **common))
            continue
        spans.append(span(f"{name} root", end=10 * number + 9, events=events if "event" in by else [], **common))
        spans.append(llm(name, parent=f"{name} root", **common))
        if "record" in by:
            logs.append(reward_record(value, trace=name, name="user_feedback"))

    dataset = run(*spans, logs=logs)

    values = {identifier(f"turn {number}", 16): (value, value) for number, value in enumerate((-1.0, 1.0, 1.0))}
    assert rewarded(dataset) == values
    assert {reason for _, _, reason in told(dataset)} == {"outcome"}


@pytest.mark.parametrize(
    "judged",
    [
        span("part", parent="root", attributes={"openinference.span.kind": "RETRIEVER"}),
        span("part", parent="root", attributes={"langfuse.observation.type": "retriever"}),
        span("part", parent="root", attributes={"openinference.span.kind": "RERANKER"}),
        span("part", parent="root", attributes={"gen_ai.operation.name": "embeddings"}),
        span("part", parent="root"),
        tool("part", parent="root", tool_name="search"),
    ],
    ids=["retriever", "another producer's", "reranker", "embeddings", "unmarked", "tool"],
)
def test_the_score_of_a_part_in_which_nobody_acts_is_a_signal(judged: Span) -> None:
    """It says nothing about the answer, though it is the only score of the trace."""
    judged["events"] = json.dumps([evaluation(0.1, name="relevance")])
    dataset = run(span("root", end=9), judged, llm("a", parent="root", start=2))

    assert rewarded(dataset) == {identifier("a", 16): (None, None)}
    assert told(dataset) == [(0.1, None, "signal")]


def test_the_score_of_a_retriever_that_asks_a_model_is_a_signal_too() -> None:
    """The call that rewrites its query is no answer either."""
    dataset = run(
        span("root", end=9),
        span(
            "retrieve",
            parent="root",
            attributes={"openinference.span.kind": "RETRIEVER"},
            events=[evaluation(0.1, name="relevance")],
        ),
        llm("rewrite", parent="retrieve", start=1),
        llm("a", parent="root", start=3),
    )

    assert told(dataset) == [(0.1, None, "signal")]


def test_a_part_that_is_named_as_the_outcome_says_how_the_episode_ended() -> None:
    """Programs check the answer in a span of their own."""
    dataset = run(
        span("root", end=9),
        llm("a", parent="root", start=1),
        span("check", parent="root", start=4, events=[evaluation(0.5)]),
    )

    assert rewarded(dataset) == {identifier("a", 16): (0.5, 0.5)}


def test_the_score_of_an_agents_run_falls_on_its_last_call() -> None:
    """The agent that asked it for help has the episode's outcome."""
    dataset = run(
        agent("boss", agent_name="boss", end=20, events=[evaluation(1.0)]),
        llm("asks", parent="boss", start=1, end=2),
        agent("helper", agent_name="helper", parent="boss", start=3, end=9, events=[evaluation(-1.0, name="quality")]),
        llm("h1", parent="helper", start=4, end=5),
        llm("h2", parent="helper", start=6, end=7),
        llm("answers", parent="boss", start=10, end=11),
    )

    rewards = dataset.tables["transitions"].sort("step").select("span_id", "reward_step", "outcome").rows()
    names = [identifier(name, 16) for name in ("asks", "h1", "h2", "answers")]
    assert rewards == list(zip(names, [None, None, -1.0, None], [1.0] * 4, strict=True))
    assert told(dataset) == [(-1.0, "run", "step"), (1.0, "episode", "outcome")]


def test_a_span_that_holds_all_calls_is_the_episode() -> None:
    """A web server's span around the agent's makes no difference."""
    dataset = run(
        span("POST /chat", end=20),
        agent("bot", agent_name="bot", parent="POST /chat", end=19, events=[evaluation(0.5, name="rating")]),
        llm("a", parent="bot", start=1, end=2),
        llm("b", parent="bot", start=3, end=4),
    )

    assert told(dataset) == [(0.5, "episode", "outcome")]


JUDGE = {"gen_ai.operation.name": "evaluate", EVALUATION_NAME: "outcome", EVALUATION_SCORE: 0.25}


@pytest.mark.parametrize(
    "judgement",
    [
        linked(span("judge", trace="j", start=30, attributes=JUDGE), ("t", "root")),
        linked(span("judge", trace="j", start=30, attributes=JUDGE), ("t", "a")),
        linked(span("judge", trace="j", start=30, events=[evaluation(0.25)]), ("t", "root")),
        linked(
            span(
                "judge",
                trace="j",
                start=30,
                attributes={"openinference.span.kind": "EVALUATOR"},
                events=[evaluation(0.25)],
            ),
            ("gone", "gone"),
            ("t", "root"),
        ),
        linked(span("judge", trace="j", start=30, attributes=JUDGE), ("t", "a span that never came")),
    ],
    ids=["of the root", "of the call", "as an event", "one of several", "of the trace alone"],
)
def test_an_evaluator_judges_what_it_is_linked_to(judgement: Span) -> None:
    """In a trace of its own, in which a model was asked for the verdict."""
    dataset = run(
        span("root", end=9), llm("a", parent="root"), judgement, llm("verdict", trace="j", parent="judge", start=31)
    )

    assert rewarded(dataset)[identifier("a", 16)] == (0.25, 0.25)
    (row,) = dataset.tables["rewards"].to_dicts()
    assert (row["trace_id"], row["judged_trace_id"]) == (identifier("j", 32), identifier("t", 32))


@pytest.mark.parametrize("targets", [[], [("gone", "gone")]])
def test_an_evaluator_never_judges_itself(targets: list[tuple[str, str]]) -> None:
    """Nobody acted in its trace."""
    judgement = linked(span("judge", trace="j", attributes=JUDGE), *targets)
    dataset = run(judgement, llm("verdict", trace="j", parent="judge", start=1))

    assert dataset.tables["episodes"]["outcome"].to_list() == [None]
    assert told(dataset) == [(0.25, None, "no_such_span" if targets else "nobody_acted")]


def test_a_turn_that_is_linked_to_the_one_before_keeps_its_score() -> None:
    """A link of a span in which an agent acted says what it follows from."""
    root = linked(
        agent("second", agent_name="bot", trace="2", start=10, end=19, events=[evaluation(1.0)]), ("1", "first")
    )
    dataset = run(
        span("first", trace="1", end=9),
        llm("a", trace="1", parent="first"),
        root,
        llm("b", trace="2", parent="second", start=11),
    )

    assert rewarded(dataset) == {identifier("a", 16): (None, None), identifier("b", 16): (1.0, 1.0)}


@pytest.mark.parametrize(
    ("given", "outcomes"),
    [
        (record(response="r2"), [None, 1.0]),
        (record(episode="ep-1"), [1.0, None]),
        (record(session="talk"), [1.0, 1.0]),
        (record(conversation="talk"), [1.0, 1.0]),
        (record(episode="talk"), [1.0, 1.0]),
        (record(episode=identifier("2", 32)), [None, 1.0]),
        (record(response="r3"), [None, None]),
        (record(episode="ep-2"), [None, None]),
    ],
    ids=[
        "answer",
        "episode",
        "session",
        "conversation",
        "session as episode",
        "trace",
        "no answer",
        "none",
    ],
)
def test_a_reward_names_what_it_can(given: dict[str, Any], outcomes: list[float | None]) -> None:
    """An answer, an episode or a session, where the sender knows no trace."""
    dataset = run(
        llm("a", trace="1", response_id="r1", attributes={**TALK, EPISODE_ID: "ep-1"}),
        llm("b", trace="2", start=5, response_id="r2", attributes=TALK),
        logs=[given],
    )

    found = rewarded(dataset)
    assert [found[identifier(name, 16)][1] for name in "ab"] == outcomes
    reason = "outcome" if any(outcomes) else "no_such_span"
    assert dataset.tables["rewards"]["reason"].to_list() == [reason]


def test_a_score_of_the_session_gives_way_to_that_of_an_episode() -> None:
    """Which was rated for itself."""
    dataset = run(
        llm("a", trace="1", attributes=TALK),
        llm("b", trace="2", start=5, attributes=TALK),
        logs=[reward_record(0.0, trace="1"), record(1.0, session="talk")],
    )

    assert dataset.tables["transitions"].sort("start_ns")["outcome"].to_list() == [0.0, 1.0]
    assert told(dataset) == [(0.0, "episode", "outcome"), (1.0, "session", "outcome")]


def test_a_record_in_the_evaluators_own_trace_judges_what_it_names() -> None:
    """Loggers put the ids of whatever span is open on every record."""
    own = {**record(0.5, response="r1"), "trace_id": identifier("j", 32), "span_id": identifier("judge", 16)}
    dataset = run(span("judge", trace="j", start=20), llm("a", response_id="r1"), logs=[own])

    assert rewarded(dataset) == {identifier("a", 16): (0.5, 0.5)}


def test_excluded_agents_and_spans_are_nobodys_action() -> None:
    """By the agent's name or that of a span above, as patterns; what remains is the episode."""
    dataset = run(
        span("root", end=20),
        llm("a", parent="root", start=1, end=2),
        agent("judge 7", agent_name="judge-7", parent="root", start=3, end=9),
        llm("j", parent="judge 7", start=4, end=5),
        span("make title", parent="root", start=10, end=12),
        llm("title", parent="make title", start=10, end=11),
        logs=[reward_record(1.0)],
        exclude_agents=["judge*", "make title"],
    )

    assert rewarded(dataset) == {identifier("a", 16): (1.0, 1.0)}
    assert dataset.tables["rejected"]["reason"].to_list() == ["excluded", "excluded"]
