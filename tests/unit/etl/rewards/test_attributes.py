"""Scores that stand on spans as attributes."""

from typing import Any

from etl.rewards.attributes import Score, scores
from tests.unit.etl.calls.made import seen


def read(**attributes: Any) -> list[Score]:
    """Read a span's scores; `__` in a name stands for a dot."""
    span = seen().span
    span.attributes = {name.replace("__", "."): value for name, value in attributes.items()}
    return list(scores(span))


def test_annotations_are_of_a_span_a_trace_or_a_session() -> None:
    """By how their names begin, in either of the words for them."""
    found = read(
        annotations__0__annotation__name="a",
        annotations__0__annotation__score=0.5,
        trace__annotations__0__annotation__label="good",
        session__evaluations__0__evaluation__explanation="why",
    )

    assert found == [
        Score("a", 0.5, None, None, None),
        Score(None, None, "good", None, "trace."),
        Score(None, None, None, "why", "session."),
    ]


def test_several_are_several_whatever_their_numbers() -> None:
    """Numbers need not begin at 0; fields of another kind are not theirs."""
    found = read(
        annotations__3__annotation__score=1, annotations__7__annotation__score=True, annotations__7__other__score=0
    )

    assert [score.value for score in found] == [1.0, 1.0]


def test_a_judgement_in_a_span_of_its_own_names_what_it_judges() -> None:
    """By the id of the answer; a score that is no number is none."""
    fields: dict[str, Any] = {"gen_ai__evaluation__name": "outcome", "gen_ai__response__id": "r1"}

    assert read(**fields, gen_ai__evaluation__score__value=1) == [
        Score("outcome", 1.0, None, None, None, "r1", is_own_span=True)
    ]
    assert [score.value for score in read(**fields, gen_ai__evaluation__score__value="high")] == [None]


def test_names_that_only_hold_the_word_are_no_scores() -> None:
    """`annotations` may be anybody's."""
    assert read(annotations="three", app__annotations__count=3, my__evaluations__0__evaluation__score=1) == []
