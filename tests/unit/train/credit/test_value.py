"""The value before a call: nobody's own outcome is in it, and it tells states apart that differ."""

import numpy as np
import pytest

from tests.unit.train.calls import call
from train.credit.value import (
    MIN_TASKS,
    add_other_attempts,
    call_features,
    cross_fit,
    deal_folds,
    earned_before,
    folds_are_tasks,
)
from train.data.logged import Call


def played(num_tasks: int, attempts: int, *, seed: int = 0) -> tuple[list[Call], np.ndarray, np.ndarray, np.ndarray]:
    """Return two-call episodes whose outcome hangs on the first token, with outcomes, tasks and episodes."""
    rng = np.random.default_rng(seed)
    calls, outcomes, tasks = [], [], []
    for task in range(num_tasks):
        easy = int(rng.random() < 0.5)
        for _ in range(attempts):
            number = len(outcomes)
            outcomes.append(float(rng.random() < (0.9 if easy else 0.1)))
            tasks.append(task)
            calls += [call([10 + easy, 3, 4], [5], episode=number, turn=turn, start_ns=20 * turn) for turn in range(2)]
    return calls, np.array(outcomes), np.array(tasks), np.repeat(np.arange(len(outcomes)), 2)


def values(calls: list[Call], outcomes: np.ndarray, task: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Fit values as a run does, with no intermediate rewards."""
    features = call_features(calls, np.zeros(len(calls)), episode)
    found = cross_fit(features, outcomes[episode], deal_folds(task[episode], episode)).values
    if not folds_are_tasks(task):
        return found
    return add_other_attempts(found, outcomes[episode], task=task[episode], episode=episode, prior=4.0)


@pytest.mark.parametrize(("num_tasks", "attempts"), [(30, 1), (15, 4), (MIN_TASKS - 1, 4), (1, 12)])
def test_nobodys_own_outcome_is_in_its_value(num_tasks: int, attempts: int) -> None:
    """Each episode's outcome changed in turn: its own values stay, to the last bit but rounding, and others move."""
    calls, outcomes, task, episode = played(num_tasks, attempts)
    before = values(calls, outcomes, task, episode)

    moved = 0.0
    for one in range(0, len(outcomes), 5):
        changed = outcomes.copy()
        changed[one] += 10
        after = values(calls, changed, task, episode)
        assert after[episode == one] == pytest.approx(before[episode == one], abs=1e-9)
        moved = max(moved, float(np.abs(after - before)[episode != one].max()))

    assert moved > 0.01


def test_a_prompt_that_promises_much_has_a_high_value() -> None:
    """Tasks attempted once: what is known of them is their prompt alone."""
    calls, outcomes, task, episode = played(200, 1)
    features = call_features(calls, np.zeros(len(calls)), episode)

    found = cross_fit(features, outcomes[episode], deal_folds(task[episode], episode))

    easy = np.array([each.prompt_ids[0] == 11 for each in calls])
    assert found.values[easy].mean() == pytest.approx(0.9, abs=0.1)
    assert found.values[~easy].mean() == pytest.approx(0.1, abs=0.1)
    assert found.explained > 0.5


def test_a_value_that_can_know_nothing_is_the_mean_of_the_others() -> None:
    """Pure noise: no worse than the mean by more than a few hundredths of the variance."""
    rng = np.random.default_rng(0)
    returns = rng.normal(size=300)

    found = cross_fit(rng.normal(size=(300, 40)), returns, np.arange(300) % 5)

    assert found.explained == pytest.approx(0, abs=0.08)


def test_a_lone_episode_has_no_value() -> None:
    """There is nothing to fit it on, and nothing is made up."""
    calls, outcomes, task, episode = played(1, 1)

    assert np.isnan(values(calls, outcomes, task, episode)).all()


def test_what_a_parallel_sibling_earns_is_not_known_before_a_call() -> None:
    """Two calls at once and one after both: gains, losses and how many had ended."""
    calls = [call([1], [2], start_ns=start) for start in (0, 10, 12, 20)]

    found = earned_before(calls, np.array([0.5, -0.1, -0.2, 0.0]), np.zeros(4, dtype=int))

    assert found[:, 0].tolist() == [0, 0.5, 0.5, 0.5]
    assert found[:, 1] == pytest.approx([0, 0, 0, -0.3])
    assert np.expm1(found[:, 2]) == pytest.approx([0, 1, 1, 3])


def test_folds_are_of_tasks_where_there_are_enough_and_of_episodes_elsewhere() -> None:
    """No task, or no episode, is in two folds."""
    many, few = np.repeat(np.arange(20), 3), np.zeros(12, dtype=int)

    by_task = deal_folds(many, np.arange(60))
    by_episode = deal_folds(few, np.arange(12) // 2)

    assert all(len(set(by_task[many == task])) == 1 for task in range(20))
    assert all(len(set(by_episode[2 * each : 2 * each + 2])) == 1 for each in range(6))
    assert len(set(by_episode)) > 1


def test_a_value_stays_within_what_was_earned_elsewhere() -> None:
    """A line through few points runs on beyond them; a failure that beat an impossible value would be a success."""
    rng = np.random.default_rng(0)
    outcomes = (rng.random(60) < 0.1).astype(float)

    found = cross_fit(rng.normal(size=(60, 1)) + 3 * outcomes[:, None], outcomes, np.arange(60) % 5)

    assert found.values.min() == 0
    assert found.values.max() <= 1


def test_attempts_chosen_by_outcome_do_not_tell_one_another_s() -> None:
    """One success and one failure for every task: the value stays near the mean, and success is still an advantage."""
    outcomes = np.tile([1.0, 0.0], 40)
    calls = [call([1, 2], [3], episode=number) for number in range(80)]

    found = values(calls, outcomes, np.repeat(np.arange(40), 2), np.arange(80))

    assert np.abs(found - 0.5).max() < 0.15
