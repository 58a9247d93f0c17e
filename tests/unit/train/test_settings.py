"""Recipes, and what a given setting counts beside them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.train.calls import call
from train.credit.assignment import credit_calls
from train.data.logged import Episode, Logged
from train.recipes import RECIPES, Recipe
from train.settings import TrainConfig


def settings(**given: Any) -> TrainConfig:
    return TrainConfig(model=Path("m"), **given)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_a_set_of_settings_that_fit_each_other(recipe: Recipe) -> None:
    """And what it sets is what the run gets; the rest is the default."""
    config, defaults = settings(recipe=recipe), settings()

    assert config.recipe == recipe
    for name in TrainConfig.model_fields:
        if name != "recipe":
            assert getattr(config, name) == RECIPES[recipe].get(name, getattr(defaults, name))


def test_what_is_given_wins_over_the_recipe() -> None:
    """Also where it is given the default's value."""
    config = settings(recipe="grpo", negative=settings().negative, epochs=7)

    assert (config.negative, config.epochs, config.loss) == (settings().negative, 7, "grpo")


def test_named_methods_learn_from_both_signs() -> None:
    """As their papers have it; only imitation leaves failures out."""
    assert {recipe for recipe in RECIPES if settings(recipe=recipe).negative == 1.0} >= {
        "window",
        "grpo",
        "ppo",
        "rloo",
    }


@pytest.mark.parametrize(
    ("outcomes", "imitated"), [([0.0, 0.4, 0.6, 1.0], [2, 3]), ([1.0, 1.0], [0, 1]), ([0.0, 0.0], [])]
)
def test_imitation_takes_the_better_half_of_the_scale_or_all_that_was_rewarded(
    outcomes: list[float], imitated: list[int]
) -> None:
    """Nothing to compare with is no reason to learn nothing where every answer was good."""
    logged = Logged(
        [Episode(str(index), str(index), outcome) for index, outcome in enumerate(outcomes)],
        [call([1], [2], episode=index) for index in range(len(outcomes))],
    )

    advantages = credit_calls(logged, settings(recipe="imitate")).advantages

    assert np.flatnonzero(advantages > 0).tolist() == imitated
