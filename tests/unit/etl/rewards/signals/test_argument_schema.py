"""Arguments beside the schema of the tool they are for."""

from tests.unit.etl.rewards.signals.episode import OFFER, measured, step, transitions


def test_arguments_that_do_not_fit_the_offered_tool() -> None:
    """Half of the requests are wrong: one misses a required argument."""
    rows = transitions(
        step("a", start=1, attributes=OFFER, calls=[("1", "search", {"q": 1}), ("2", "search", {})]),
        argument_schema=0.2,
    )

    assert rows["reward_argument_schema"].to_list() == [-0.1]


def test_a_tool_that_was_not_offered() -> None:
    """Its name is made up."""
    rows = transitions(step("a", start=1, attributes=OFFER, calls=[("1", "fly", {})]))

    assert measured(rows, "argument_schema") == [-1.0]
    assert rows["reward_argument_schema"].to_list() == [None]
