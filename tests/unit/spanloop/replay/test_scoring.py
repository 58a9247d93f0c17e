"""What a replay is worth, by outcomes and by checks."""

from pathlib import Path

import pytest

from foundation.errors import GateRefused
from spanloop.replay.episode import as_recorded, replay
from spanloop.replay.scoring import by_checks, by_outcomes
from spanloop.replay.states import State, read_states
from tests.logged import publish
from tests.unit.spanloop.replay.conversations import Scripted, attempt, calling


def states_of(tmp_path: Path, *rows: dict[str, object]) -> list[State]:
    return sorted(read_states(publish(tmp_path, rows)), key=lambda state: state.episode_id)


def test_an_answer_is_worth_what_it_earned(tmp_path: Path) -> None:
    """By any attempt at the question; a short answer nobody gave is wrong where another one was right."""
    rows = attempt("a", "1+1", "2", "2", outcome=1.0) + attempt("a", "1+2", "3", "3", number=1, outcome=0.2)
    right, wrong = states_of(tmp_path, *rows)
    score = by_outcomes([right, wrong])

    said = [replay(right, Scripted({"a": "1+1"}, say=text), seed=0) for text in (" 2. ", "3", "7")]

    assert score(said) == [1.0, 0.2, 0.2]
    assert score([as_recorded(right), as_recorded(wrong)]) == [1.0, 0.2]


def test_what_stopped_is_worth_the_worst(tmp_path: Path) -> None:
    """Nothing shows that it would have gone well."""
    rows = attempt("a", "1+1", "2", "2", outcome=1.0) + attempt("b", "9", "9", "9", outcome=-1.0)
    states = states_of(tmp_path, *rows)

    assert by_outcomes(states)([replay(states[0], Scripted({"a": "2"}), seed=0)]) == [-1.0]


def test_where_all_went_well_what_departs_is_not_taken_to_have(tmp_path: Path) -> None:
    """The worst on record is then the best on record, and no measure."""
    (state,) = states_of(tmp_path, *attempt("a", "1+1", "2", "2", outcome=1.0))
    score = by_outcomes([state])

    assert score([replay(state, Scripted({"a": "2"}), seed=0), as_recorded(state)]) == [0.0, 1.0]


def test_words_nobody_said_are_not_known_to_be_wrong(tmp_path: Path) -> None:
    """Of long answers there are many that are as good."""
    long = "The two of them together make a sum that is exactly twice what either of them is alone"
    (state,) = states_of(tmp_path, *attempt("a", "1+1", "2", long))

    assert by_outcomes([state])([replay(state, Scripted({"a": "1+1"}, say=long[:-6]), seed=0)]) == [None]


def test_without_outcomes_there_is_nothing_to_go_by(tmp_path: Path) -> None:
    """The way out is named."""
    with pytest.raises(GateRefused, match="no recorded episode has an outcome"):
        by_outcomes(states_of(tmp_path, *attempt("a", "1+1", "2", "2", outcome=None)))


def test_checks_see_form_alone(tmp_path: Path) -> None:
    """An end, words that refuse nothing, and calls that fit the tools on offer."""
    (state,) = states_of(tmp_path, *attempt("a", "1+1", "2", "2"))
    refusing = replay(state, Scripted({"a": "1+1"}, say="I'm sorry, I can't."), seed=0)
    stopped = replay(state, Scripted({"a": "1"}), seed=0)
    unknown = as_recorded(state)
    unknown.answers[0].message.update(calling("1+1", name="abacus"))

    assert by_checks([replay(state, Scripted({"a": "1+1"}), seed=0), refusing, stopped, unknown]) == [1, 0, 0, 0]
