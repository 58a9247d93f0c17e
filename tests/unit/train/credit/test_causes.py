"""What followed from which call: the agents' own order before the clock."""

import numpy as np
import pytest

from train.credit.advantages import bootstrapped_returns, causal_returns
from train.credit.causes import NOBODY, followers, previous_calls

# planner 0-5; two workers it asked, side by side, two calls each; the planner again, when both have ended
START = np.array([0, 6, 6, 12, 30, 50])
END = np.array([5, 10, 20, 15, 40, 60])
ROLE = np.array([0, 1, 2, 1, 2, 0])
EPISODE = np.zeros(6, dtype=np.int64)
SPANS = ["p0", "a0", "b0", "a1", "b1", "p1"]


def previous(following: dict[str, str] | None = None) -> np.ndarray:
    named = [(following or {}).get(span) for span in SPANS]
    return previous_calls(SPANS, named, ROLE, EPISODE, START, END)


def test_the_previous_call_is_the_recorded_one_or_the_agents_last() -> None:
    """With and without a record of it."""
    expected = [NOBODY, NOBODY, NOBODY, 1, 2, 0]

    assert previous().tolist() == expected
    assert previous({"p0": "p1", "a0": "a1", "b0": "b1"}).tolist() == expected


def test_two_agents_of_one_name_are_told_apart_by_the_record() -> None:
    """By the clock the second of one would follow from the first of the other."""
    role = np.zeros(4, dtype=np.int64)
    start, end = np.array([0, 0, 20, 11]), np.array([10, 19, 30, 18])

    found = previous_calls(["a0", "b0", "b1", "a1"], ["a1", "b1", None, None], role, np.zeros(4, int), start, end)

    assert found.tolist() == [NOBODY, NOBODY, 1, 0]


def test_a_parallel_branch_does_not_charge_the_other() -> None:
    """The later call of one worker began after the other worker had ended; it follows from its own branch alone."""
    mistake_of_b = np.array([0, 0, 0, 0, -1.0, 0])

    by_graph = causal_returns(mistake_of_b, episode=EPISODE, start_ns=START, end_ns=END, previous=previous())
    by_clock = causal_returns(mistake_of_b, episode=EPISODE, start_ns=START, end_ns=END)

    assert by_graph.tolist() == [-1, 0, -1, 0, -1, 0]
    assert by_clock.tolist() == [-1, -1, -1, -1, -1, 0]


def test_who_asked_and_who_answered_share_what_followed() -> None:
    """Both branches ran between the planner's two calls: its last one follows from all of them."""
    follows = followers(START, END, previous())

    assert follows[:, 5].tolist() == [True, True, True, True, True, False]
    assert follows[0].tolist() == [False, True, True, True, True, True]


@pytest.mark.parametrize("seed", range(20))
def test_where_nothing_overlaps_the_clock_and_the_graph_say_the_same(seed: int) -> None:
    """Any agents in any order, one call after the other."""
    rng = np.random.default_rng(seed)
    start = np.sort(rng.choice(1000, size=8, replace=False)) * 10
    end, role, episode = start + 5, rng.integers(3, size=8), np.zeros(8, dtype=np.int64)
    before = previous_calls([str(each) for each in range(8)], [None] * 8, role, episode, start, end)

    assert followers(start, end, before).tolist() == np.triu(np.ones((8, 8), dtype=bool), 1).tolist()


def test_values_are_used_along_a_branch_and_not_across_a_fork() -> None:
    """A worker's first call is followed by its second and the planner's last, a chain; its first is a fork."""
    values = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    rewards, outcomes = np.zeros(6), np.array([1.0])

    found = bootstrapped_returns(
        rewards, outcomes, values, episode=EPISODE, start_ns=START, end_ns=END, lambda_=0.0, previous=previous()
    )

    assert found.tolist() == pytest.approx([1.0, 0.4, 0.5, 0.6, 0.6, 1.0])
