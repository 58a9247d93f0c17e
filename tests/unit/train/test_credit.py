"""Credit: statistics over episodes, streams kept apart, nothing made of an uncompared reward."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.credit import call_advantages, causal_returns, center, outcome_advantages

ONE_TASK = np.zeros(4, dtype=np.int64)


def advantages_of_calls(outcomes: list[float], calls_per_episode: list[int], **settings: object) -> np.ndarray:
    """Credit calls of one task that follow one another and earned nothing on the way."""
    episode = np.repeat(np.arange(len(outcomes)), calls_per_episode)
    turn = np.concatenate([np.arange(count) for count in calls_per_episode])
    return call_advantages(
        np.array(outcomes),
        np.zeros(len(outcomes), dtype=np.int64),
        np.zeros(len(episode)),
        episode=episode,
        slot=turn,
        start_ns=turn * 10,
        end_ns=turn * 10 + 5,
        **settings,
    )


def test_statistics_are_over_episodes_not_over_rows() -> None:
    """Two good episodes of two calls and two bad ones of one call: 0.87 and -0.87 (agent-lightning issue 489)."""
    advantages = advantages_of_calls([1, 1, 0, 0], [2, 2, 1, 1], leave_one_out=False, divide_by_std=True)

    assert advantages == pytest.approx([np.sqrt(0.75)] * 4 + [-np.sqrt(0.75)] * 2)


def test_statistics_over_rows_would_be_biased() -> None:
    """The wrong formula on the same episodes gives 0.65 and -1.29: the negative control of the test above."""
    rows = np.array([1, 1, 1, 1, 0, 0], dtype=np.float64)

    wrong = (rows - rows.mean()) / rows.std(ddof=1)

    assert wrong == pytest.approx([0.6455] * 4 + [-1.291] * 2, abs=1e-3)


def test_a_task_attempted_once_earns_no_advantage() -> None:
    """A raw reward is no advantage: with nothing to compare it with it teaches nothing."""
    assert outcome_advantages(np.array([1.0, 5.0]), np.array([0, 1])).tolist() == [0.0, 0.0]


def test_shrinkage_compares_a_single_attempt_with_other_tasks() -> None:
    """Worked by hand: other tasks' mean is 2; for the pair, (1 x peer + 4 x 6) / 5."""
    advantages = outcome_advantages(np.array([6.0, 1.0, 3.0]), np.array([0, 1, 1]), shrinkage=4)

    assert advantages == pytest.approx([6 - 2, 1 - (3 + 24) / 5, 3 - (1 + 24) / 5])


def test_equal_outcomes_divided_by_their_spread_stay_zero() -> None:
    """0.1 + 0.2 against 0.3 is rounding, not a difference worth a whole standard deviation."""
    outcomes = np.array([0.1 + 0.2, 0.3])

    assert outcome_advantages(outcomes, np.zeros(2, int), divide_by_std=True).tolist() == [0.0, 0.0]


def test_a_slot_an_episode_never_reached_counts_as_nothing_earned() -> None:
    """The second call of the only episode that made one is compared with the zeros of the three that did not."""
    centered = center(np.array([3.0]), episode=np.array([2]), slot=np.array([1]), task=ONE_TASK)

    assert centered.tolist() == [3.0]


def test_a_failed_tool_lowers_the_call_that_called_it_and_the_calls_before() -> None:
    """The return of a call is its own reward and that of what began after it ended."""
    returns = causal_returns(
        np.array([0.0, -0.1, 0.0]),
        episode=np.zeros(3, int),
        start_ns=np.array([0, 10, 20]),
        end_ns=np.array([5, 15, 25]),
    )

    assert returns.tolist() == [-0.1, -0.1, 0.0]


def test_parallel_siblings_do_not_answer_for_one_another() -> None:
    """Two calls that overlap; only the call before both sees both rewards."""
    returns = causal_returns(
        np.array([0.0, -0.1, -0.2]),
        episode=np.zeros(3, int),
        start_ns=np.array([0, 10, 12]),
        end_ns=np.array([9, 30, 20]),
    )

    assert returns == pytest.approx([-0.3, -0.1, -0.2])


def test_returns_do_not_cross_episodes() -> None:
    """The same instants in another episode are another story."""
    returns = causal_returns(
        np.array([0.0, -0.1]), episode=np.array([0, 1]), start_ns=np.array([0, 10]), end_ns=np.array([5, 15])
    )

    assert returns.tolist() == [0.0, -0.1]


def test_intermediate_rewards_are_never_divided_by_a_spread() -> None:
    """Four equal outcomes and one slip of -0.1: the slip costs about its own size, not a standard deviation."""
    advantages = call_advantages(
        np.ones(4),
        ONE_TASK,
        np.array([0.0, 0.0, 0.0, -0.1]),
        episode=np.arange(4),
        slot=np.zeros(4, int),
        start_ns=np.zeros(4, int),
        end_ns=np.ones(4, int),
        divide_by_std=True,
    )

    assert advantages == pytest.approx([0.1 / 3] * 3 + [-0.1])


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(-10, 10)), min_size=1, max_size=30),
    st.floats(-5, 5),
)
def test_a_bonus_for_everybody_changes_nothing(episodes: list[tuple[int, float]], bonus: float) -> None:
    """Advantages compare; what all episodes of all tasks get alike drops out."""
    task = np.unique([number for number, _ in episodes], return_inverse=True)[1]
    outcomes = np.array([outcome for _, outcome in episodes])

    plain = outcome_advantages(outcomes, task, shrinkage=2.0)

    assert outcome_advantages(outcomes + bonus, task, shrinkage=2.0) == pytest.approx(plain, abs=1e-9)
