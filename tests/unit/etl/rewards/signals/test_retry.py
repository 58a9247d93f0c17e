"""Questions that are asked again."""

from tests.unit.etl.rewards.signals.episode import measured, step, transitions


def test_a_question_asked_again_falls_on_the_answer_before() -> None:
    """Samples taken at the same time are no retries."""
    rows = transitions(
        step("a", start=1, asked=[("user", "one")]),
        step("b", start=1.5, asked=[("user", "one")]),
        step("c", start=5, asked=[("user", "one")]),
        step("d", start=7, asked=[("user", "two")]),
    )

    assert measured(rows, "retry") == [-1.0, -1.0, 0.0, 0.0]


def test_a_question_that_comes_again_after_its_answer_was_used_is_no_retry() -> None:
    """An agent whose history was cut off begins with its task again."""
    rows = transitions(
        step("a", start=1, asked=[("user", "task")], said="first"),
        step("b", start=3, asked=[("user", "task"), ("assistant", "first"), ("user", "on")], said="second"),
        step("c", start=5, asked=[("user", "task")], said="third"),
    )

    assert measured(rows, "retry") == [0.0, 0.0, 0.0]
