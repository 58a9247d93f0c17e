"""A difference is judged by questions, in clusters, and by pairs."""

import pytest

from spanloop.demo.intervals import paired_difference


def row(question: int, reward: float | None, cluster: int | None = None) -> dict[str, object]:
    return {
        "task_id": f"q{question}",
        "cluster": f"c{question if cluster is None else cluster}",
        "reward": reward,
        "measures": {"valid": 1.0},
    }


def test_each_question_counts_once_however_often_it_was_attempted() -> None:
    """Two attempts at a question are its mean, and the difference is of means."""
    before = [row(0, 0.0), row(0, 0.0), row(1, 1.0)]
    after = [row(0, 1.0), row(0, 0.0), row(1, 1.0)]

    assert paired_difference(before, after).mean == pytest.approx(0.25)
    assert paired_difference(before, after, measure="valid").mean == 0


def test_wordings_of_one_question_are_one_observation() -> None:
    """Forty questions of two kinds tell as little as two: the interval is as wide."""
    before = [row(index, 0.0, index % 2) for index in range(40)]
    after = [row(index, float(index % 2), index % 2) for index in range(40)]
    apart = paired_difference(
        [row(index, 0.0) for index in range(40)], [row(index, float(index % 2)) for index in range(40)]
    )

    together = paired_difference(before, after)

    assert together.mean == apart.mean == 0.5
    assert (together.low, together.high) == (0.0, 1.0)
    assert 0.2 < apart.low < apart.high < 0.8


def test_what_was_not_graded_does_not_count() -> None:
    """Nor a question that was attempted on one side alone; with none left nothing is said."""
    before = [row(0, 0.0), row(1, None), row(2, 1.0)]
    after = [row(0, 1.0), row(1, 1.0)]

    assert paired_difference(before, after).mean == 1.0
    with pytest.raises(ValueError, match="no question"):
        paired_difference(before, [row(7, 1.0)])


def test_noise_alone_is_no_gain() -> None:
    """As many better as worse: the interval holds 0."""
    before = [row(index, float(index % 2)) for index in range(100)]
    after = [row(index, float((index + 1) % 2)) for index in range(100)]

    difference = paired_difference(before, after)

    assert difference.low < 0 < difference.high
    assert not difference.is_gain
