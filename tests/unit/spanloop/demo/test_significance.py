"""Tests of the demo's verdict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloop.demo.significance import paired_p_value


def test_five_of_five_changes_for_the_better_is_one_in_thirty_two() -> None:
    """Worked by hand: 1 / 2**5."""
    assert paired_p_value([False] * 5, [True] * 5) == 1 / 32


def test_a_worse_policy_is_no_improvement() -> None:
    """The test is one-sided."""
    assert paired_p_value([True] * 8, [False] * 8) == 1.0


def test_unpaired_attempts_are_refused() -> None:
    """Both policies must have tried the same problems."""
    with pytest.raises(ValueError, match="not pairs"):
        paired_p_value([True], [True, False])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_turning_the_comparison_round_covers_all_outcomes(pairs: list[tuple[bool, bool]]) -> None:
    """P(better or more) + P(worse or more) counts the observed outcome twice, so it is 1 or above, at most 2."""
    before, after = [b for b, _ in pairs], [a for _, a in pairs]
    assert 1.0 <= paired_p_value(before, after) + paired_p_value(after, before) <= 2.0
