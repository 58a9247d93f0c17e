"""Whether a prompt is better, by the tasks both were asked."""

from dataclasses import replace

from spanloop.prompts.judged import judge, sign_flip
from spanloop.replay.episode import End, Replayed
from spanloop.replay.states import State
from spanloop.replay.trial import Trial

STATE = State("p", "e", "t", "a", "k", "train", [], None, [], None, {}, {}, None, "D")


def trial(scores: list[float | None]) -> Trial:
    replays = [Replayed(replace(STATE, task=f"t{number}"), [], End.ANSWERED, []) for number in range(len(scores))]
    return Trial(replays, scores)


def test_the_p_value_is_that_of_every_way_to_flip_the_signs() -> None:
    """By hand: of ten tasks that all gained alike, one of 1,024 ways is as high."""
    tasks = [f"t{number}" for number in range(10)]
    assert abs(sign_flip(tasks, [1.0] * 10) - 1 / 1024) < 5e-4
    assert sign_flip(tasks, [-1.0] * 10) > 0.99


def test_better_equal_worse_and_unknown() -> None:
    """Only what gains in enough tasks is better; what nobody scored counts for nothing."""
    assert judge(trial([0.0] * 12), trial([1.0] * 12), level=0.01).is_better
    for before, after in (([0.0] * 12, [0.0] * 12), ([1.0] * 12, [0.0] * 12), ([0.0] * 12, [None] * 12)):
        assert not judge(trial(before), trial(after), level=0.01).is_better  # type: ignore[arg-type]
    few = judge(trial([0.0] * 12), trial([1.0] * 6 + [None] * 6), level=0.01)
    assert (few.is_better, few.num_tasks) == (False, 6)
    assert "6 tasks" in few.reason
