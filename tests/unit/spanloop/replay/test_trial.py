"""A candidate tried from Python, as an optimiser of prompts does."""

from pathlib import Path

from spanloop.replay.comparison import compare
from spanloop.replay.scoring import by_outcomes
from spanloop.replay.states import read_states
from spanloop.replay.trial import attempt as try_on
from spanloop.replay.trial import recorded
from tests.logged import publish
from tests.unit.spanloop.replay.conversations import Scripted, attempt


def test_two_prompts_are_compared_state_by_state(tmp_path: Path) -> None:
    """Scores stand in the order of the states; a trial repeats under its seed."""
    tasks = [f"t{number}" for number in range(9)]
    states = read_states(
        publish(
            tmp_path,
            [row for task in tasks for row in attempt(task, task, "1", "1")]
            + attempt("t0", "?", "2", "2", number=1, outcome=0.0),
        )
    )
    score = by_outcomes(states)
    calls = {task: task for task in tasks}
    good, bad = Scripted(calls), Scripted(calls, say="no idea")

    before, again = (try_on(states, good, score, system="Be exact.", seed=7) for _ in range(2))
    after = try_on(states, bad, score, system="Be vague.", seed=7)
    found = compare(before.replays, after.replays, (before.scores, after.scores))

    assert before.scores == again.scores == recorded(states, score).scores
    assert before.tasks == [state.task for state in states]
    assert after.mean is not None
    assert found.difference is not None
    assert sorted(before.scores, key=str) == [0.0] + [1.0] * 9
    assert after.mean.mean == 0.0
    assert found.difference.high < 0
