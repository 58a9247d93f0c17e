"""Observation, action, next observation, evidence, task, split."""

import json

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import Span, agent, gateway, identifier, llm, logs_frame, span, spans_frame


def run(*spans: Span, **settings: object) -> Dataset:
    """Run the ETL over spans, taking every trace as complete."""
    return transform(spans_frame(spans), logs_frame(), EtlConfig.model_validate({"complete_after": 0, **settings}))


def test_the_next_observation_is_the_next_call_of_the_same_agent() -> None:
    """Calls of another agent in between do not matter."""
    dataset = run(
        span("root", end=20),
        agent("planner", agent_name="planner", parent="root", end=10),
        agent("critic", agent_name="critic", parent="planner", start=3, end=5),
        llm("p1", parent="planner", start=1, end=2, asked=[("user", "plan")], said="one"),
        llm("c1", parent="critic", start=3, end=4, asked=[("user", "judge")], said="fine"),
        llm("p2", parent="planner", start=6, end=7, asked=[("user", "plan"), ("assistant", "one"), ("user", "more")]),
    )

    rows = {row["span_id"]: row for row in dataset.tables["transitions"].to_dicts()}
    first, judge = rows[identifier("p1", 16)], rows[identifier("c1", 16)]
    assert first["next_span_id"] == identifier("p2", 16)
    assert [message["text"] for message in json.loads(first["next_observation"])] == ["plan", "one", "more"]
    assert first["done"] is False
    assert first["stop_reason"] is None
    assert (judge["agent"], judge["done"], judge["stop_reason"]) == ("critic", True, "end")
    assert dataset.tables["transitions"]["step"].to_list() == [0, 1, 2]


def test_conversations_that_interleave_under_one_agent_keep_apart() -> None:
    """A question that continues another's question and answer is its successor, whatever began in between."""
    dataset = run(
        span("root", end=20),
        llm("a1", parent="root", start=1, end=2, asked=[("user", "a")], said="A"),
        llm("b1", parent="root", start=1.5, end=2.5, asked=[("user", "b")], said="B"),
        llm("b2", parent="root", start=3, end=4, asked=[("user", "b"), ("assistant", "B"), ("user", "go on")]),
        llm("a2", parent="root", start=5, end=6, asked=[("user", "a"), ("assistant", "A"), ("user", "go on")]),
    )

    following = dict(dataset.tables["transitions"].select("span_id", "next_span_id").iter_rows())
    assert following[identifier("a1", 16)] == identifier("a2", 16)
    assert following[identifier("b1", 16)] == identifier("b2", 16)


def test_ids_with_logprobs_and_temperature_are_exact_evidence() -> None:
    """A needs all three; without log-probabilities it is B, without ids of our own C, else D."""
    dataset = run(
        gateway("a", trace="1"),
        gateway("b", trace="2", start=1, logprobs=None),
        gateway("c", trace="3", start=2, temperature=None),
        gateway("d", trace="4", start=3, logprobs=[-0.5]),
        llm("e", trace="5", start=4, said="else"),
        own_models=[],
    )

    assert dataset.tables["transitions"].sort("start_ns")["evidence"].to_list() == ["A", "B", "B", "B", "D"]
    own = run(llm("e"), own_models=["m"])
    assert own.tables["transitions"]["evidence"].to_list() == ["C"]


def test_a_call_without_content_is_rejected_with_its_reason() -> None:
    """Content capture was off: there is a call, and no transition."""
    bare = span("bare", attributes={"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"})
    failed = llm("failed", start=2, said=None, status="error", message="Error code: 500 - boom")
    dataset = run(bare, failed)

    assert dataset.tables["transitions"].height == 0
    assert dataset.tables["llm_calls"].height == 2
    assert sorted(dataset.tables["rejected"]["reason"].to_list()) == ["call_failed", "no_observation"]


def test_calls_of_a_judge_are_not_the_agents() -> None:
    """Model calls below an evaluator span are kept, and are no transitions."""
    judge = span("judge", parent="root", start=5, end=8, attributes={"openinference.span.kind": "EVALUATOR"})
    dataset = run(span("root", end=9), llm("a", parent="root"), judge, llm("j", parent="judge", start=6, end=7))

    assert dataset.tables["transitions"].height == 1
    assert dataset.tables["rejected"]["reason"].to_list() == ["evaluator"]
