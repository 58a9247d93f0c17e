"""Answers are scored by what is in the last pair of tags, as SQuAD scores them."""

import os
from pathlib import Path

import pytest

from examples.datasets import read_rows
from examples.musique.answers import answer_reward, best_f1, exact_match, extract, support_recall, token_f1

FIXTURES = Path(__file__).parents[3] / "fixtures" / "tasks"
PLACES = [FIXTURES, *(Path(place) for place in [os.environ.get("SPANLOOP_DATASETS", "")] if place)]


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("name", ["train", "dev", "aux_train"])
def test_the_gold_answer_scores_one_on_every_row(place: Path, name: str) -> None:
    """Without its tags nothing, and a constant what its tags are worth."""
    rows = read_rows(place / "musique" / f"{name}.jsonl")

    assert [row["id"] for row in rows if answer_reward(f"<answer>{row['answer']}</answer>", [row["answer"]]) != 1] == []
    assert not any(answer_reward(row["answer"], [row["answer"]]) for row in rows)
    constant = [answer_reward("<answer>qwertz</answer>", [row["answer"]]) for row in rows]
    assert constant == pytest.approx([0.1] * len(rows))
    assert [row["id"] for row in rows if support_recall(row["supporting_docids"], row["supporting_docids"]) != 1] == []


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>Rome</answer>", "Rome"),
        ("<ANSWER> Rome\n</Answer>", "Rome"),
        ("<answer>Rome</answer> or <answer>Bonn</answer>", "Bonn"),
        ("<answer>a <answer>Bonn</answer></answer>", "Bonn"),
        ("<answer>Rome</answer> <answer>Bonn", "Rome"),
        ("<answer>Rome", ""),
        ("Rome</answer>", ""),
        ("</answer>Rome<answer>", ""),
        ("<answer></answer>", ""),
        ("<answer>Rome</answer><answer> </answer>", ""),
        ("Rome", ""),
        ("", ""),
        ("<answer>" * 5000, ""),
    ],
)
def test_the_last_closed_pair_of_tags_holds_the_answer(text: str, answer: str) -> None:
    """Unclosed and empty ones hold none."""
    assert extract(text) == answer


@pytest.mark.parametrize(
    ("answer", "gold", "f1"),
    [
        ("The Eiffel Tower", "eiffel tower.", 1),
        ("1990\u20131991", "1990-1991", 1),
        ("Beyoncé “Queen B” Knowles", 'Beyonce "Queen B" Knowles', 1),
        ("Straße", "strasse", 1),
        ("yes", "Yes.", 1),
        ("yes it is", "yes", 0),
        ("no", "no one", 0),
        ("paris paris paris", "Paris", 0.5),
        ("Rome Bonn Paris Berlin", "Paris", 0.4),
        ("A", "a", 1),
        ("the", "A", 0),
        ("", "A", 0),
        ("", "Rome", 0),
        ("!?", "Rome", 0),
        ("東京", "東京", 1),
    ],
)
def test_words_count_as_a_multiset(answer: str, gold: str, f1: float) -> None:
    """Articles, punctuation, case, accents and kinds of dashes do not; saying more costs precision."""
    assert token_f1(answer, gold) == pytest.approx(f1)
    assert exact_match(answer, gold) is (f1 == 1)


def test_aliases_count_where_they_are_given() -> None:
    """Both figures are to be had: with and without them."""
    assert best_f1("Stanley Hall", ["G. Stanley Hall"]) == pytest.approx(0.8)
    assert best_f1("Stanley Hall", ["G. Stanley Hall", "Stanley Hall"]) == 1
    assert best_f1("Stanley Hall", []) == 0


def test_what_is_found_twice_counts_once() -> None:
    """And nothing to find is nothing found."""
    assert support_recall(["a", "a", "b"], ["a", "c"]) == 0.5
    assert support_recall(["a"], []) == 0
