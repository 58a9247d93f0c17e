"""Answers that another answer took the place of are no transitions; samples and repeated questions are."""

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import Span, gateway, identifier, llm, logs_frame, span, spans_frame, tool

GONE_ON = [("user", "hi"), ("assistant", "yes"), ("user", "more")]


def run(*spans: Span, retry: float = 0.0) -> Dataset:
    """Run the ETL over spans, taking every trace as complete."""
    return transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0, retry=retry))


def kept(dataset: Dataset, *names: str) -> list[str]:
    """Return which of the named spans are transitions."""
    found = set(dataset.tables["transitions"]["span_id"])
    return [name for name in names if identifier(name, 16) in found]


def test_an_attempt_inside_a_clients_span_is_no_transition() -> None:
    """The client asked twice and saw only the second answer; the gateway answered both."""
    dataset = run(
        llm("client", start=0, end=9, said="yes"),
        gateway("first", parent="client", start=1, end=2, said="lost"),
        gateway("second", parent="client", start=3, end=4, said="yes"),
    )

    assert kept(dataset, "client", "first", "second") == ["client"]
    assert dataset.counts["calls"]["rejected"] == {"retried": 1}
    assert dataset.tables["transitions"]["policy_version"].to_list() == ["policy-1"]


def test_an_attempt_in_a_trace_of_its_own_is_found_by_time_and_question() -> None:
    """Clients that do not pass their context on."""
    dataset = run(
        llm("client", start=0, end=9, said="yes"),
        gateway("first", trace="g1", start=1, end=2, said="lost"),
        gateway("second", trace="g2", start=3, end=4, said="yes"),
    )

    assert kept(dataset, "client", "first", "second") == ["client"]


def test_another_agents_call_at_the_same_time_is_no_attempt() -> None:
    """Many attempts at one task at once: one agent has spans of its own, the other is known to the gateway alone."""
    dataset = run(
        llm("client", start=0, end=9, said="yes"),
        gateway("its own", trace="g1", start=1, end=8, said="yes"),
        gateway("another's", trace="g2", start=2, end=3, said="no"),
    )

    assert kept(dataset, "client", "another's") == ["client", "another's"]


def test_an_answer_the_agent_went_on_without_is_no_transition() -> None:
    """It asked again, and the history holds the second answer."""
    spans = [
        span("root", end=20),
        llm("a", parent="root", start=1, said="no"),
        llm("b", parent="root", start=3, said="yes"),
        llm("c", parent="root", start=5, asked=GONE_ON),
    ]

    assert kept(run(*spans), "a", "b", "c") == ["b", "c"]
    assert kept(run(*spans, retry=0.1), "a", "b", "c") == ["a", "b", "c"], "the signal punishes it"


def test_an_answer_whose_tool_ran_is_the_one_gone_on_from() -> None:
    """The other one asked for the tool too, and nothing happened."""
    asks = [("1", "search", {"q": 1})]
    dataset = run(
        span("root", end=20),
        llm("a", parent="root", start=1, said=None, calls=[("0", "search", {"q": 1})]),
        llm("b", parent="root", start=3, said=None, calls=asks),
        tool("t", parent="root", tool_name="search", call_id="1", start=5),
    )

    assert kept(dataset, "a", "b") == ["b"]


def test_equal_questions_of_which_none_was_gone_on_from_all_stay() -> None:
    """Votes, polls, samples: nobody can say which counted."""
    dataset = run(
        span("root", end=20),
        llm("a", parent="root", start=1, said="no"),
        llm("b", parent="root", start=3, said="yes"),
    )

    assert kept(dataset, "a", "b") == ["a", "b"]


def test_samples_taken_at_the_same_time_stay() -> None:
    """The agent chose one of them."""
    dataset = run(
        span("root", end=20),
        llm("a", parent="root", start=1, end=4, said="no"),
        llm("b", parent="root", start=2, end=3, said="yes"),
        llm("c", parent="root", start=5, asked=GONE_ON),
    )

    assert kept(dataset, "a", "b", "c") == ["a", "b", "c"]


def test_a_call_of_the_same_question_by_another_agent_stays() -> None:
    """What one agent goes on from says nothing of another."""
    dataset = run(
        span("root", end=20),
        llm("a", parent="root", start=1, said="no", agent="x"),
        llm("b", parent="root", start=3, said="yes", agent="y"),
        llm("c", parent="root", start=5, asked=GONE_ON, agent="y"),
    )

    assert kept(dataset, "a", "b", "c") == ["a", "b", "c"]
