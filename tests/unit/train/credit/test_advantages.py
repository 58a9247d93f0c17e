"""Credit: statistics over episodes, streams kept apart, nothing made of an uncompared reward."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.credit.advantages import (
    bootstrapped_returns,
    call_advantages,
    cap_intermediate,
    causal_returns,
    center,
    gate_intermediate,
    moving_baseline,
    outcome_advantages,
    overlong_penalty,
    scale_by_role,
)

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


@given(st.integers(1, 40_000), st.integers(1, 20_000), st.floats(0.05, 1))
def test_the_overlong_penalty_is_its_equation(length: int, limit: int, share: float) -> None:
    """DAPO's eq. 13, its three cases written out, with the cache as a share of the limit."""
    cache = share * limit
    if length <= limit - cache:
        expected = 0.0
    elif length <= limit:
        expected = ((limit - cache) - length) / cache
    else:
        expected = -1.0

    found = overlong_penalty(np.array([length]), limit=limit, share=share)

    assert found[0] == pytest.approx(expected, abs=1e-6)


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


def chain(lengths: list[int]) -> dict[str, np.ndarray]:
    """Return episode and times of calls that follow one another."""
    turn = np.concatenate([np.arange(length) for length in lengths])
    return {"episode": np.repeat(np.arange(len(lengths)), lengths), "start_ns": turn * 10, "end_ns": turn * 10 + 5}


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.floats(0, 1), st.integers(0, 1000))
def test_bootstrapped_returns_of_a_chain_are_those_of_gae(lengths: list[int], lambda_: float, seed: int) -> None:
    """Against the sum of temporal differences as its paper writes it: sum (lambda)^l delta, delta = r + V' - V."""
    rng = np.random.default_rng(seed)
    calls = chain(lengths)
    size = sum(lengths)
    rewards, values, outcomes = rng.normal(size=size), rng.normal(size=size), rng.normal(size=len(lengths))

    found = bootstrapped_returns(rewards, outcomes, values, lambda_=lambda_, **calls) - values

    expected, begin = np.zeros(size), 0
    for number, length in enumerate(lengths):
        own = slice(begin, begin + length)
        following = np.append(values[own][1:], 0.0)
        earned = rewards[own] + np.append(np.zeros(length - 1), outcomes[number])
        delta = earned + following - values[own]
        for start in range(length):
            expected[begin + start] = sum(lambda_**step * delta[start + step] for step in range(length - start))
        begin += length
    assert found == pytest.approx(expected, abs=1e-9)


def test_at_a_fork_what_came_counts_and_siblings_do_not_leak() -> None:
    """A planner, two workers at once, and a last call; worked by hand with values that would show up anywhere."""
    returns = bootstrapped_returns(
        np.array([0.0, -0.1, -0.2, 0.0]),
        np.array([1.0]),
        np.array([100.0, 200.0, 300.0, 0.5]),
        episode=np.zeros(4, int),
        start_ns=np.array([0, 10, 12, 40]),
        end_ns=np.array([5, 30, 20, 45]),
        lambda_=0.0,
    )

    assert returns == pytest.approx([0.7, 0.4, 0.3, 1.0])


def test_an_unknown_value_leaves_what_came() -> None:
    """NaN is not spread over an episode."""
    returns = bootstrapped_returns(
        np.array([0.0, 0.2]), np.array([1.0]), np.array([np.nan, np.nan]), lambda_=0.5, **chain([2])
    )

    assert returns == pytest.approx([1.2, 1.2])


def test_a_moving_baseline_knows_earlier_episodes_only() -> None:
    """In the order they began, whatever the order of the rows; a role's first episode has none."""
    baseline = moving_baseline(
        np.array([3.0, 1.0, 2.0, 5.0]),
        role=np.array([0, 0, 0, 1]),
        episode=np.array([2, 0, 1, 1]),
        start_ns=np.array([30, 10, 20, 21]),
        decay=0.75,
    )

    assert baseline == pytest.approx([0.75 * 1 + 0.25 * 2, np.nan, 1.0, np.nan], nan_ok=True)


def test_no_failure_outranks_a_success_by_what_it_earned_on_the_way() -> None:
    """Gains without end beside a success with losses without end, both held below half of the gap."""
    outcomes, episode = np.array([0.0, 1.0]), np.array([0, 0, 1])

    capped = cap_intermediate(np.array([3.0, 4.0, -9.0]), episode=episode, outcomes=outcomes, share=0.49)

    totals = outcomes + np.bincount(episode, capped)
    assert totals[0] < totals[1]
    assert capped[0] / capped[1] == pytest.approx(3 / 4)


def test_a_gate_silences_the_way_where_all_ended_alike() -> None:
    """A tie of two, a difference, and a single attempt, which is no tie."""
    gated = gate_intermediate(
        np.full(5, -0.1),
        episode=np.arange(5),
        outcomes=np.array([0.0, 0.0, 0.0, 1.0, 0.0]),
        task=np.array([0, 0, 1, 1, 2]),
    )

    assert gated.tolist() == [0, 0, -0.1, -0.1, -0.1]


def test_a_slip_in_a_group_that_failed_stays_a_slip() -> None:
    """Phantom advantages (verl-recipe 125): by the deviation of its group it would be as much as a failure."""
    advantages = np.array([0.5, -0.5, 0.05, -0.05])

    ours = scale_by_role(advantages, np.zeros(4, dtype=int))
    by_group = advantages / np.array([0.5, 0.5, 0.05, 0.05])

    assert ours[2] / ours[0] == pytest.approx(0.1)
    assert by_group[2] / by_group[0] == pytest.approx(1.0)


def test_roles_are_scaled_apart_and_bounded() -> None:
    """A role of small rewards counts like one of large ones; one outlier among many does not carry the update."""
    advantages = np.array([10.0, -10.0, 0.1, -0.1])
    assert scale_by_role(advantages, np.array([0, 0, 1, 1])) == pytest.approx([1, -1, 1, -1])
    assert scale_by_role(np.array([100.0] + [0.0] * 99), np.zeros(100, dtype=int)).max() == 5
