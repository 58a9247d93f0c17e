"""Teacher against candidate: the table, its intervals, and what it says."""

import random
from pathlib import Path

from spanloop.replay.comparison import Interval, Verdict, compare, interval, judge
from spanloop.replay.scoring import by_checks, by_outcomes
from spanloop.replay.states import read_states
from spanloop.replay.trial import attempt as try_on
from spanloop.replay.trial import recorded
from tests.logged import publish
from tests.unit.spanloop.replay.conversations import Scripted, attempt


def test_a_table_holds_both_sides(tmp_path: Path) -> None:
    """Score, agreement, share replayed to the end, tokens, cost."""
    tasks = [f"t{number}" for number in range(10)]
    data = publish(tmp_path, [row for task in tasks for row in attempt(task, f"{task}+1", "1", "1")])
    states = read_states(data)
    score = by_outcomes(states)
    half = Scripted({task: f"{task}+1" if number % 2 else "?" for number, task in enumerate(tasks)})

    before, after = recorded(states, score), try_on(states, half, by_checks)
    found = compare(before.replays, after.replays, (before.scores, after.scores), prices=(None, (1e6, 0.0)), margin=0.0)

    assert found.teacher.score == Interval(1.0, 1.0, 1.0)
    assert found.candidate.share_whole == 0.5
    assert found.candidate.agreement == 10 / 15
    assert found.candidate.prompt_tokens == 15
    assert found.candidate.cost == 15
    assert found.ends == {"answered": 5, "not_recorded": 5}
    assert found.verdict is Verdict.REFUSED
    assert found.num_tasks == found.num_states == 10


def test_tasks_are_what_is_drawn() -> None:
    """Many attempts at two tasks are two observations."""
    many = interval([str(number) for number in range(100)], [0.0, 1.0] * 50)
    two = interval(["a", "b"] * 50, [0.0, 1.0] * 50)

    assert many is not None
    assert two is not None
    assert many.high - many.low < 0.25
    assert (two.low, two.high) == (0.0, 1.0)
    assert interval([], []) is None


def test_a_verdict_is_of_the_whole_interval() -> None:
    """Few tasks say nothing, whatever they say; no number is no proof."""
    assert judge(Interval(0.0, -0.05, 0.05), 20, margin=0.1)[0] is Verdict.PASSED
    assert judge(Interval(-0.3, -0.4, -0.2), 20, margin=0.1)[0] is Verdict.REFUSED
    assert judge(Interval(-0.1, -0.3, 0.1), 20, margin=0.1)[0] is Verdict.INCONCLUSIVE
    assert judge(Interval(0.0, 0.0, 0.0), 3, margin=0.1)[0] is Verdict.INCONCLUSIVE
    assert judge(Interval(float("nan"), float("nan"), float("nan")), 20, margin=0.1)[0] is Verdict.INCONCLUSIVE
    assert judge(None, 0, margin=0.1)[0] is Verdict.INCONCLUSIVE


def test_how_often_it_is_wrong() -> None:
    """An equal candidate is called worse in few of 200 draws, one that loses a fifth nearly always."""
    draw = random.Random(3)
    tasks = [str(number) for number in range(150)]

    def refused(loss: float) -> int:
        found = 0
        for seed in range(200):
            gains = [(draw.random() < 0.6 - loss) - (draw.random() < 0.6) for _ in tasks]
            found += judge(interval(tasks, gains, seed=seed), len(tasks), margin=0.0)[0] is Verdict.REFUSED
        return found

    assert refused(0.0) <= 12
    assert refused(0.25) >= 190
