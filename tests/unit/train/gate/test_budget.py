"""The pace of a run: spread evenly over its updates, never beyond its budget."""

import pytest

from train.gate.budget import FASTEST, MOST, Pace


def test_checks_come_early_and_then_less_often() -> None:
    """After one update, two, and then every four; and at the end, however near the last check was."""
    pace, checks, kept, since = Pace(0.5, 20), [], 0, 0
    for done in range(1, 21):
        since += 1
        if pace.is_due(kept, since, done):
            checks.append(done)
            kept, since = kept + since, 0

    assert checks == [1, 2, 4, 8, 12, 16, 20]


def test_a_step_becomes_what_the_pace_allows() -> None:
    """A distance grows with the square of the way: four times too far is half the step."""
    pace = Pace(0.4, 100)

    assert pace.correct(4 * pace.allowed(10), 10, rate=1.0) == pytest.approx(0.5)
    assert pace.correct(pace.allowed(10), 10, rate=1.0) == pytest.approx(1.0)
    assert pace.correct(0.0, 10, rate=1.0) == FASTEST


def test_a_step_never_leaps() -> None:
    """Neither to many times the rate of the beginning, nor beyond a rate that somebody asked for."""
    tiny = 1e-9

    assert Pace(0.4, 100).correct(tiny, 10, rate=MOST) == pytest.approx(1.0)
    assert Pace(0.4, 100, may_hasten=False).correct(tiny, 10, rate=1.0) == pytest.approx(1.0)
    assert 0 < Pace(0.4, 100).slow_down(1e-9) <= Pace(0.4, 100).slow_down(1.0) < 1


def test_a_run_without_updates_has_no_way_to_go() -> None:
    """No division by nothing."""
    assert Pace(0.5, 0).allowed(1) == 0.5
