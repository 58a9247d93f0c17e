"""How far an episode has come, by how others ended."""

from etl.rewards.signals.progress import Course, progress


def test_progress_is_a_difference_of_potentials() -> None:
    """Undiscounted, an episode's steps add up to minus the potential of its first state, whatever happened in it."""
    courses = [
        Course(f"task {number}", [[0.0, float(number % 2)], [1.0, 0.0]], float(number % 2)) for number in range(40)
    ]

    steps = progress(courses, 1.0)

    assert steps is not None
    starts: dict[float | None, list[float]] = {0.0: [], 1.0: []}
    for course, values in zip(courses, steps, strict=True):
        starts[course.outcome].append(-sum(values))
    assert sum(starts[1.0]) / 20 > 0.8
    assert sum(starts[0.0]) / 20 < 0.2


def test_progress_of_few_outcomes_is_not_guessed() -> None:
    """Nineteen episodes, or one outcome, tell nothing."""
    course = Course("t", [[1.0]], 1.0)

    assert progress([course] * 19, 1.0) is None
    assert progress([course] * 40, 1.0) is None
