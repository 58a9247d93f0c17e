"""A state asked anew: to its end, or to where the record ends."""

from pathlib import Path
from typing import Any

import pytest

from spanloop.replay.asking import Answer, NoAnswer
from spanloop.replay.episode import End, as_recorded, replay, replay_all
from spanloop.replay.states import State, read_states
from tests.logged import publish
from tests.unit.spanloop.replay.conversations import Scripted, attempt, calling, saying


@pytest.fixture
def state(tmp_path: Path) -> State:
    (found,) = read_states(publish(tmp_path, attempt("2 and 3", "2+3", "5", "It is 5")))
    return found


def test_a_candidate_that_asks_the_same_is_replayed_to_its_end(state: State) -> None:
    """Tools say what they said, and every answer is compared with the recorded one."""
    ask = Scripted({"2 and 3": "2+3"}, say="That makes {}")

    replayed = replay(state, ask, seed=1)

    assert replayed.end is End.ANSWERED
    assert replayed.agreements() == [True, True]
    assert replayed.last is not None
    assert replayed.last["text"] == "That makes 5"
    assert [message["role"] for message in replayed.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert ask.asked[1]["messages"][-1] == {"role": "tool", "content": "5", "tool_call_id": "c1"}
    assert ask.asked[0]["tools"][0]["function"]["name"] == "calculator"


def test_what_nobody_recorded_stops_it(state: State) -> None:
    """No tool is simulated."""
    replayed = replay(state, Scripted({"2 and 3": "3+2"}), seed=1)

    assert replayed.end is End.NOT_RECORDED
    assert replayed.agreements() == [False]


def test_a_candidate_that_goes_round_in_circles_ends(state: State) -> None:
    """It is told the same again, and not for ever."""
    replayed = replay(state, lambda _: Answer(calling("2+3"), "tool_calls", 0.1, None), seed=1)

    assert replayed.end is End.TOO_MANY_TURNS


def test_what_was_cut_or_refused_is_no_end(state: State) -> None:
    """Nor a failure of the whole run."""

    def refuse(_: dict[str, Any]) -> Answer:
        raise NoAnswer("too long")

    assert replay(state, refuse, seed=1).end is End.REFUSED
    assert replay(state, lambda _: Answer(saying("It i"), "length", 0.1, None), seed=1).end is End.CUT_SHORT


def test_a_tool_that_hands_over_the_answer_ends_an_episode(tmp_path: Path) -> None:
    """Its result is on no record: what matters is what was handed over."""
    rows = attempt("2 and 3", "2+3", "5", "5")[:1]
    rows[0]["next_span_id"] = None
    (state,) = read_states(publish(tmp_path, rows))

    assert replay(state, Scripted({"2 and 3": "2*3"}), seed=1).end is End.ANSWERED
    assert as_recorded(state).end is End.ANSWERED


def test_a_seed_decides_what_is_asked(state: State) -> None:
    """The same bodies under the same seed, other ones under another; another system message when it is given."""
    bodies = []
    for seed in (1, 1, 2):
        ask = Scripted({"2 and 3": "2+3"})
        replay_all([state, state], ask, seed=seed, system="Be brief.", temperature=0.5)
        bodies.append(sorted(map(repr, ask.asked)))

    assert bodies[0] == bodies[1] != bodies[2]
    assert "Be brief." in bodies[0][0]
    assert "Use the calculator." not in bodies[0][0]


def test_what_was_recorded_reads_like_a_replay(state: State) -> None:
    """So that both are scored alike."""
    recorded = as_recorded(state)

    assert recorded.is_whole
    assert recorded.agreements() == [True, True]
    assert [message["role"] for message in recorded.messages] == ["system", "user", "assistant", "tool", "assistant"]
