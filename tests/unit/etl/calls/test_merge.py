"""The same model call, seen by several layers, is one call; different calls never become one."""

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import Span, gateway, identifier, llm, logs_frame, span, spans_frame


def run(*spans: Span) -> Dataset:
    """Run the ETL over spans, taking every trace as complete."""
    return transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0))


def span_ids(dataset: Dataset) -> list[str]:
    """Return the span ids of the calls in the order they began."""
    return dataset.tables["llm_calls"].sort("start_ns", "span_id")["span_id"].to_list()


def test_a_gateway_span_below_the_clients_gives_it_token_ids() -> None:
    """With trace context propagated, the gateway's span is a descendant."""
    dataset = run(
        llm("client", end=2),
        gateway("gate", parent="client", start=0.5, end=1.5, response_id="r1"),
    )

    (call,) = dataset.tables["llm_calls"].to_dicts()
    assert call["span_id"] == identifier("client", 16)
    assert call["merged_span_ids"] == [identifier("gate", 16)]
    assert call["response_token_ids"] == [4, 5]
    assert call["response_id"] == "r1"


def test_a_gateway_span_below_the_clients_is_its_call_whatever_the_gateways_clock_says() -> None:
    """The trace's context came with the request; a clock half a minute behind changes nothing of that."""
    dataset = run(llm("client", start=40, end=42), gateway("gate", parent="client", start=10.5, end=11.5))

    (call,) = dataset.tables["llm_calls"].to_dicts()
    assert call["merged_span_ids"] == [identifier("gate", 16)]
    assert call["response_token_ids"] == [4, 5]


def test_a_gateway_span_beside_the_clients_is_found_by_content() -> None:
    """Some instrumentations do not make their span the current one, so the gateway's becomes its sibling."""
    dataset = run(
        span("root", end=5),
        llm("client", parent="root", start=1, end=3),
        gateway("gate", parent="root", start=1.2, end=2.8),
    )

    (call,) = dataset.tables["llm_calls"].to_dicts()
    assert call["policy_version"] == "policy-1"


def test_a_gateway_trace_of_its_own_joins_the_episode_of_its_call() -> None:
    """Clients that send no trace context: one episode of two traces, no episode of the gateway alone."""
    dataset = run(
        span("root", end=5),
        llm("client", parent="root", start=1, end=3, response_id="r1"),
        gateway("gate", trace="other", start=1.2, end=2.8, response_id="r1"),
    )

    (episode,) = dataset.tables["episodes"].to_dicts()
    assert sorted(episode["trace_ids"]) == sorted([identifier("t", 32), identifier("other", 32)])
    assert episode["root_name"] == "root"
    assert dataset.tables["transitions"]["evidence"].to_list() == ["A"]


def test_attempts_at_one_task_at_once_each_get_their_own_tokens() -> None:
    """Equal questions and answers at the same time are paired one to one, by the nearest start."""
    clients = [llm(f"client{n}", trace=f"t{n}", start=n, end=n + 5) for n in range(3)]
    gates = [gateway(f"gate{n}", trace=f"g{n}", start=n + 0.5, end=n + 4, ids=[n, n]) for n in range(3)]

    dataset = run(*clients, *gates)

    calls = dataset.tables["llm_calls"].sort("start_ns")
    assert calls["span_id"].to_list() == [identifier(f"client{n}", 16) for n in range(3)]
    assert calls["response_token_ids"].to_list() == [[0, 0], [1, 1], [2, 2]]


def test_identical_parallel_calls_stay_two() -> None:
    """Siblings of one instrumentation without response ids are real."""
    dataset = run(span("root", end=5), llm("a", parent="root"), llm("b", parent="root"))

    assert dataset.tables["llm_calls"].height == 2


def test_different_response_ids_are_never_one_call() -> None:
    """Not even when one span lies inside the other with equal content."""
    dataset = run(llm("outer", end=2, response_id="r1"), llm("inner", parent="outer", start=0.5, response_id="r2"))

    assert dataset.tables["llm_calls"].height == 2


def test_a_framework_span_around_the_clients_is_the_same_call() -> None:
    """Containment and equal answers, when the framework did not record the response id."""
    dataset = run(
        llm("framework", end=3, scope="framework", agent="planner"),
        llm("client", parent="framework", start=0.5, end=2, response_id="r1"),
    )

    (call,) = dataset.tables["llm_calls"].to_dicts()
    assert call["response_id"] == "r1"
    assert call["agent"] == "planner"


def test_a_failed_attempt_below_the_framework_stays_a_call_of_its_own() -> None:
    """The framework's answer is the last attempt's."""
    dataset = run(
        llm("framework", end=6, scope="framework"),
        llm("first", parent="framework", start=1, end=2, said=None, status="error", message="boom"),
        llm("second", parent="framework", start=3, end=5, response_id="r2"),
    )

    assert dataset.tables["llm_calls"].height == 2
    assert dataset.tables["transitions"].height == 1


def test_a_wrapper_without_an_answer_is_no_call() -> None:
    """A model-call span around several calls, as LlamaIndex makes, is counted and left out."""
    wrapper = span("outer", end=9, attributes={"gen_ai.operation.name": "chat"})
    dataset = run(
        wrapper,
        llm("a", parent="outer", start=1, end=2, response_id="r1"),
        llm("b", parent="outer", start=3, end=4, response_id="r2"),
    )

    assert span_ids(dataset) == [identifier("a", 16), identifier("b", 16)]
    assert dataset.counts["spans"]["used"]["call_wrapper"] == 1
