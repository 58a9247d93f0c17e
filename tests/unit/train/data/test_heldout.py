"""Which tasks are kept out of training."""

import numpy as np

from tests.unit.train.calls import call
from train.data.heldout import LEAST_TASKS, hold_out
from train.data.logged import Episode, Logged


def logged(num_tasks: int, attempts: int = 2) -> Logged:
    """Return two attempts at each of so many tasks, of two calls each."""
    episodes = [Episode(f"{task}-{each}", f"task {task}", 1.0) for task in range(num_tasks) for each in range(attempts)]
    calls = [call([1], [2], episode=index, turn=turn) for index in range(len(episodes)) for turn in range(2)]
    return Logged(episodes, calls)


def tasks_of(data: Logged, chosen: np.ndarray) -> set[str]:
    return {data.episodes[call.episode].task for call, is_chosen in zip(data.calls, chosen, strict=True) if is_chosen}


def test_a_share_of_the_tasks_is_kept_out_with_all_their_calls() -> None:
    """Nobody's second attempt is trained on while the first is measured."""
    data = logged(100)

    kept = hold_out(data, np.ones(400, dtype=bool), share=0.1)

    assert len(tasks_of(data, kept)) == 10
    assert kept.sum() == 40
    assert not tasks_of(data, kept) & tasks_of(data, ~kept)


def test_names_decide_so_that_tomorrow_most_are_kept_out_again() -> None:
    """Whatever else is attempted; only where names of before come later is another one chosen."""
    today, tomorrow = logged(100), logged(110)

    before = tasks_of(today, hold_out(today, np.ones(400, dtype=bool), share=0.2))
    after = tasks_of(tomorrow, hold_out(tomorrow, np.ones(440, dtype=bool), share=0.2))

    assert len(before & after) >= 16


def test_the_share_is_of_tasks_with_something_to_learn_from() -> None:
    """One whose attempts all failed would tell nothing."""
    data = logged(100)
    teaching = np.array([data.episodes[call.episode].task < "task 6" for call in data.calls], dtype=bool)

    kept = hold_out(data, teaching, share=0.25)

    able = tasks_of(data, teaching)
    assert len(tasks_of(data, kept)) == round(0.25 * len(able))
    assert tasks_of(data, kept) <= able


def test_of_few_tasks_none_is_kept_out() -> None:
    """They would say too little, and be missed."""
    few, enough = logged(10 * LEAST_TASKS - 10), logged(10 * LEAST_TASKS)

    assert not hold_out(few, np.ones(len(few.calls), dtype=bool), share=0.1).any()
    assert hold_out(enough, np.ones(len(enough.calls), dtype=bool), share=0.1).any()
    assert not hold_out(enough, np.ones(len(enough.calls), dtype=bool), share=0.0).any()
