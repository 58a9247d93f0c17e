"""What requests contain says what came after what, whatever clocks say."""

from itertools import permutations

import pytest

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import Span, identifier, llm, logs_frame, span, spans_frame, tool

TURNS = [("user", "Plan the trip."), ("assistant", "Where to?"), ("user", "Oslo."), ("assistant", "When?")]


def run(*spans: Span) -> Dataset:
    """Run the ETL over one trace."""
    root = span("root", start=-20, end=60)
    return transform(spans_frame([root, *spans]), logs_frame(), EtlConfig(complete_after=0))


def chain(starts: tuple[float, ...], length: float = 1.0) -> list[Span]:
    """Return three calls, each of which holds the one before, that began at these times."""
    asked = [TURNS[:1], TURNS[:3], [*TURNS, ("user", "In May.")]]
    said = ["Where to?", "When?", "Done."]
    return [
        llm(f"c{number}", parent="root", asked=turns, said=text, start=start, end=start + length)
        for number, (turns, text, start) in enumerate(zip(asked, said, starts, strict=True))
    ]


def course(dataset: Dataset) -> list[tuple[str, str | None, bool]]:
    """Return span, next span and done, step by step."""
    return dataset.tables["transitions"].sort("step").select("span_id", "next_span_id", "done").rows()


RIGHT = [
    (identifier("c0", 16), identifier("c1", 16), False),
    (identifier("c1", 16), identifier("c2", 16), False),
    (identifier("c2", 16), None, True),
]


@pytest.mark.parametrize("starts", list(permutations((0.0, 2.0, 4.0))))
def test_a_history_proves_the_order(starts: tuple[float, ...]) -> None:
    """Clocks of other machines may turn it round."""
    assert course(run(*chain(starts))) == RIGHT


@pytest.mark.parametrize("length", [1.9, 2.05, 5.0, 30.0])
def test_a_stream_may_end_when_the_next_request_has_begun(length: float) -> None:
    """However late its iterator was closed."""
    assert course(run(*chain((0.0, 2.0, 4.0), length))) == RIGHT


def test_the_same_question_again_later_is_not_gone_on_from() -> None:
    """Of two calls alike it is the one that had ended."""
    again = llm("again", parent="root", asked=TURNS[:1], said="Where to?", start=9, end=10)

    rows = {span_id: following for span_id, following, _ in course(run(*chain((0.0, 2.0, 4.0)), again))}

    assert rows[identifier("c0", 16)] == identifier("c1", 16)
    assert rows[identifier("again", 16)] is None


@pytest.mark.parametrize("tool_start", [0.5, -3.0])
def test_a_tool_belongs_to_the_call_that_asked_for_it_whenever_it_ran(tool_start: float) -> None:
    """While the stream was open, or before it by another machine's clock."""
    calls = chain((0.0, 8.0, 12.0), 5.0)
    calls[0] = llm("c0", parent="root", calls=[("k", "search", {"q": 1})], start=0, end=5)
    ran = tool("ran", parent="root", tool_name="search", arguments={"q": 1}, start=tool_start, status="error")

    dataset = run(*calls, ran)

    assert dataset.tables["tool_calls"]["caused_by_span_id"].to_list() == [identifier("c0", 16)]
