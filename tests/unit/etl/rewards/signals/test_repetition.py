"""Actions that were tried before."""

from tests.unit.etl.rewards.signals.episode import step, transitions


def test_an_action_already_tried() -> None:
    """By the same agent, with the same arguments."""
    rows = transitions(
        step("a", start=1, agent="x", calls=[("1", "search", {"q": 1})]),
        step("b", start=3, agent="y", calls=[("2", "search", {"q": 1})]),
        step("c", start=5, agent="x", calls=[("3", "search", {"q": 1}), ("4", "search", {"q": 2})]),
        repetition=0.1,
    )

    assert rows["reward_repetition"].to_list() == [0.0, 0.0, -0.05]
