"""Problems are the same every time, never cross the split, and are graded exactly."""

import pytest
from agent import evaluate
from problems import Problem, generate, grade


def test_the_same_seed_gives_the_same_problems() -> None:
    """And another seed gives others."""
    assert generate(50, split="train", seed=7) == generate(50, split="train", seed=7)
    assert generate(50, split="train", seed=7) != generate(50, split="train", seed=8)


def test_no_text_is_in_both_splits() -> None:
    """Whatever the seeds: the text alone decides where a problem belongs."""
    train = {problem.text for seed in range(3) for problem in generate(1000, split="train", seed=seed)}
    heldout = {problem.text for seed in range(3) for problem in generate(1000, split="heldout", seed=seed)}

    assert not train & heldout


def test_problems_of_one_draw_differ() -> None:
    """A group of attempts is about one problem, so each problem comes once."""
    problems = generate(2000, split="heldout", seed=1)

    assert len({problem.task_id for problem in problems}) == 2000


def test_answers_are_right_and_small() -> None:
    """The expression gives the answer; every number lies in 0..99."""
    for problem in generate(2000, split="train", seed=2):
        assert evaluate(problem.expression) == problem.answer
        assert 0 <= problem.answer <= 99


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("The answer is 42.", 1.0),
        ("42", 1.0),
        ("The answer is 42.0.", 0.0),
        ("The answer is -42.", 0.0),
        ("The answer is 142.", 0.0),
        ("42 or 43", 0.0),
        ("", 0.0),
        ("forty-two", 0.0),
    ],
)
def test_only_the_exact_answer_earns_a_reward(text: str, reward: float) -> None:
    """Neither a number that contains it, nor two guesses."""
    assert grade(text, Problem("?", "40+2", 42)) == reward
