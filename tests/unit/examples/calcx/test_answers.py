"""Numbers are read by a parser of their own, whatever stands there, and never run."""

import os
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.calcx.answers import close_match, exact_match, extract, readings
from examples.calcx.arithmetic import NotANumber, evaluate, show
from examples.datasets import read_rows

FIXTURES = Path(__file__).parents[3] / "fixtures" / "tasks"
PLACES = [FIXTURES, *(Path(place) for place in [os.environ.get("SPANLOOP_DATASETS", "")] if place)]


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("name", ["train", "dev"])
def test_the_gold_answer_is_right_on_every_row(place: Path, name: str) -> None:
    """So is what its steps come to; an empty answer never is, and no constant often."""
    rows = read_rows(place / "calcx" / f"{name}.jsonl")

    assert [row["id"] for row in rows if not exact_match(row["answer"], row["answer"])] == []
    steps = [step for row in rows for step in row["steps"] if "//" not in step["expr"]]
    pairs = [(evaluate(step["expr"]), evaluate(step["result"])) for step in steps]
    wrong = [(found, said) for found, said in pairs if abs(found - said) > Fraction(1, 50) * abs(said)]
    assert wrong == []
    assert not any(close_match("", row["answer"]) for row in rows)
    assert max(sum(exact_match(str(one), row["answer"]) for row in rows) for one in range(60)) <= 0.15 * len(rows)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("1,000", "1000"),
        ("1000.0", "1,000"),
        ("$5", "5"),
        ("5 €", "5"),
        ("-$5", "-5"),
        ("50%", "50"),
        ("50 %", "0.5"),
        ("3/4", "0.75"),
        ("1 1/2", "1.5"),
        ("1e3", "1000"),
        ("-0", "0"),
        ("5.", "5"),
        ("(2+3)*4", "20"),
        ("2^10", "1024"),
        ("3 \u00d7 4", "12"),
        (".5", "0.5"),
        ("\u22127", "-7"),
    ],
)
def test_a_number_is_the_same_however_it_is_written(answer: str, gold: str) -> None:
    """As people and programs write it."""
    assert exact_match(answer, gold)
    assert close_match(answer, gold)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "nan", "inf", "-inf", "NaN", "five", "5 apples", "the answer is 5", "1 000", "1,00", "5, 6", "1e999",
        "9**9**9", "2^1000000", "0^-1", "1/0", "2(3)", "()", "(1", "1)", "+", "0x10", "1_000", "٣", "\uff13", "½",
        "__import__('os').system('true')", "open('x')", "[5]", "5;5", "5\n6", "(" * 100 + "1" + ")" * 100, "1" * 5000,
        "((9^64)^64)^64", "*".join(["9999999999"] * 18),
    ],
)  # fmt: skip
def test_what_is_no_number_is_no_answer(text: str) -> None:
    """Not even to itself."""
    assert not exact_match(text, "5")
    assert not close_match(text, "5")
    assert text == "*".join(["9999999999"] * 18) or not exact_match(text, text)


@given(st.text(max_size=60) | st.text(alphabet="0123456789+-*/^().,% $eE", max_size=40))
def test_any_text_is_read_in_bounded_work(text: str) -> None:
    """And no text raises."""
    assert all(abs(one) < 10**450 for one in readings(text))


def test_the_tolerance_is_relative_and_exact_matches_are_told_apart() -> None:
    """What the published reward counts as right, and what is."""
    assert close_match("199", "200")
    assert not exact_match("199", "200")
    assert not close_match("0.001", "0")
    assert close_match("0.333", "1/3")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So it is ### ANSWER: 72 ###", "72"),
        ("### ANSWER: 71 ### no ### ANSWER: 72 ###", "72"),
        ("### answer: 72", "72"),
        ("72", "72"),
        ("### ANSWER: ###", ""),
        ("It is 72", "It is 72"),
    ],
)
def test_the_last_marker_holds_the_answer(text: str, answer: str) -> None:
    """Without one the whole text is the answer."""
    assert extract(text) == answer


def test_results_are_shown_as_a_calculator_shows_them() -> None:
    """Whole numbers whole, others to ten digits; too much is said to be too much."""
    assert [show(evaluate(text)) for text in ("6/3", "1/3", "-5/2", "10^30")] == [
        "2", "0.3333333333", "-2.5", "1" + "0" * 30,
    ]  # fmt: skip
    with pytest.raises(NotANumber, match="characters"):
        evaluate("1+" * 200 + "1")
