"""A night's report as its page shows it: counts that reconcile, whatever stands in the file."""

import pytest

from spanloop.page.views.runs import interval_of, reconciled, told


def test_counts_that_do_not_add_up_are_told() -> None:
    """What waits is counted; what no whole number is can be told neither way."""
    spans = {"in": 5, "used": {"a": 1}, "ignored": {"b": 2}, "rejected": {}, "waiting": 2}
    whole = reconciled({"etl": {"spans": spans}})
    short = reconciled({"etl": {"spans": {**spans, "in": 6}}})
    odd = reconciled({"etl": {"spans": {**spans, "in": "many"}}})

    assert [rows[0][3] for rows in (whole, short, odd)] == [True, False, None]


def test_calls_and_what_was_trained_reconcile_too() -> None:
    """Each with the reasons something was left out for, by name."""
    night = {
        "etl": {"calls": {"in": 3, "transitions": 1, "rejected": {"z": 1, "a": 1}}},
        "train": {"num_calls": 2, "num_trained_calls": 1, "set_aside": {"old": 1}, "num_updates": 7},
    }

    calls, trained, training = reconciled(night)

    assert calls == ("model calls", 3, [("transitions", 1), ("rejected: a", 1), ("rejected: z", 1)], True)
    assert trained[2:] == ([("trained", 1), ("set aside: old", 1)], True)
    assert training == ("training", None, [("updates", 7)], None)


@pytest.mark.parametrize("odd", [None, 7, "text", [1, {"name": "etl", "duration_s": None}]])
def test_what_is_of_another_form_is_shown_as_nothing(odd: object) -> None:
    """A night that failed early has little of it."""
    shown = told({**dict.fromkeys(("phases", "etl", "train", "evaluate", "error", "checkpoint"), odd), "routes": odd})

    assert (shown["gate"], shown["interval"], shown["counts"], shown["routes"], shown["said"]) == ({}, "", [], [], None)


def test_a_checkpoint_is_named_by_its_directory() -> None:
    """Whatever it ends in; without one there is none."""
    assert [told({"checkpoint": path})["checkpoint"] for path in ("/data/checkpoints/c1", "/data/c1/", None)] == [
        "c1", "c1", ""
    ]  # fmt: skip


def test_a_gain_without_its_ends_is_not_drawn() -> None:
    """One whose middle is unknown is."""
    assert interval_of({"estimate": {"gain": 0.1, "gain_low": None, "gain_high": 0.2}}) == ""
    assert "between -0.100 and +0.200" in interval_of({"estimate": {"gain_low": -0.1, "gain_high": 0.2}})
