"""Logged states: where an agent stood, and what its tools said."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from foundation.errors import GateRefused, SettingsError
from spanloop.replay.states import longest_answer, read_states
from tests.logged import publish, transition
from tests.unit.spanloop.replay.conversations import attempt, saying


def test_an_attempt_is_one_state_with_its_turns(tmp_path: Path) -> None:
    """It begins where the user spoke, and knows what tools said on the way."""
    (state,) = read_states(publish(tmp_path, attempt("2 and 3", "2+3", "5", "5", params='{"max_tokens": 9}')))

    assert [message["role"] for message in state.messages] == ["system", "user"]
    assert [len(turn.action["tool_calls"]) for turn in state.turns] == [1, 0]
    assert list(state.results.values()) == [["5"]]
    assert state.sampling == {"max_tokens": 9, "temperature": 1.0}
    assert state.turns[0].duration_s == 0.5


def test_an_answer_may_be_four_times_as_long_as_any_recorded(tmp_path: Path) -> None:
    """By tokens where somebody counted them, by text where nobody did."""
    (state,) = read_states(publish(tmp_path, attempt("2 and 3", "2+3", "5", "5")))
    turns = [replace(turn, tokens=(10, 30 * number)) for number, turn in enumerate(state.turns, 3)]

    assert longest_answer([state]) == 256
    assert longest_answer([replace(state, turns=turns)]) == 4 * 120
    long = replace(state.turns[0], action={"role": "assistant", "text": "x" * 3000}, tokens=None)
    assert 4000 <= longest_answer([replace(state, turns=[long])]) < 4200


def test_what_a_user_says_in_between_begins_another_state(tmp_path: Path) -> None:
    """What the user said next answered the recorded words, so it is history of a state of its own."""
    said = [{"role": "user", "text": "hi"}]
    later = [*said, saying("hello"), {"role": "user", "text": "and now?"}]
    rows = [
        transition(span_id="a", next_span_id="b", observation=json.dumps(said), action=json.dumps(saying("hello"))),
        transition(span_id="b", step=1, observation=json.dumps(later), action=json.dumps(saying("bye"))),
    ]

    states = read_states(publish(tmp_path, rows))

    assert sorted(len(state.messages) for state in states) == [1, 3]
    assert all(len(state.turns) == 1 for state in states)


def test_results_of_other_attempts_count_where_they_agree(tmp_path: Path) -> None:
    """A tool that answered the same question in two ways is taken at its word in its own episode alone."""
    rows = attempt("a", "1+1", "2", "2") + attempt("a", "1*1", "1", "1", number=1)
    rows += attempt("b", "now", "9:00", "9") + attempt("b", "now", "9:01", "9", number=1)
    rows += attempt("b", "2+2", "4", "4", number=2)
    data = publish(tmp_path, rows)

    known = {state.episode_id: len(state.results) for state in read_states(data)}
    by_task = {state.episode_id: len(state.results) for state in read_states(data, tools_from="task")}
    by_all = {state.episode_id: len(state.results) for state in read_states(data, tools_from="all")}

    assert set(known.values()) == {1}
    assert by_task == {"a-0": 2, "a-1": 2, "b-0": 2, "b-1": 2, "b-2": 1}
    assert by_all == {"a-0": 3, "a-1": 3, "b-0": 4, "b-1": 4, "b-2": 3}


def test_what_cannot_be_asked_in_words_is_left_out(tmp_path: Path) -> None:
    """Token ids alone, and pictures."""
    rows = [
        transition(episode_id="ids", span_id="ids"),
        *attempt("seen", "1", "1", "1", media='[{"message": 0}]'),
        *attempt("said", "1", "1", "1"),
    ]

    assert [state.episode_id for state in read_states(publish(tmp_path, rows))] == ["said-0"]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    """No directory, nothing published, no such agent."""
    with pytest.raises(SettingsError, match="no directory"):
        read_states(tmp_path / "nowhere")
    with pytest.raises(GateRefused, match="nothing is published"):
        read_states(tmp_path)
    publish(tmp_path, attempt("a", "1+1", "2", "2"))
    with pytest.raises(SettingsError, match="planner") as refusal:
        read_states(tmp_path, agents=("planner",))
    assert refusal.value.hint == "There are: agent."


def test_a_limit_takes_the_same_states_again(tmp_path: Path) -> None:
    """They are chosen by hash: more data changes few of them."""
    rows = [row for task in "abcdefgh" for row in attempt(task, "1+1", "2", "2")]
    few, more = publish(tmp_path / "few", rows[:12]), publish(tmp_path / "more", rows)

    chosen = {state.task for state in read_states(more, limit=3)}

    assert len(chosen) == 3
    assert chosen & {state.task for state in read_states(few)} <= {state.task for state in read_states(few, limit=3)}
