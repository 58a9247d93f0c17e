"""Recipes: named sets of values for the settings of a run. A setting that is given wins over its recipe.

Each does what its paper says, negatives included; where this trainer differs, docs/training.md says so.
"""

from typing import Any, Literal

Recipe = Literal["lightning", "window", "grpo", "ppo", "rloo", "offline", "imitate", "feedback"]

RECIPES: dict[Recipe, dict[str, Any]] = {
    "lightning": {},
    "window": {"epochs": 1},
    "grpo": {
        "loss": "grpo",
        "credit": "identical",
        "baseline": "group_mean",
        "scale": "group_std",
        "shrinkage": 0.0,
        "optimizer": "adamw",
        "epochs": 1,
        "reference_kl": 0.04,
        "kl_estimator": "k3",
    },
    "ppo": {"loss": "ppo", "token_critic": True, "token_lambda": 0.95, "optimizer": "adamw", "epochs": 4},
    "rloo": {
        "loss": "rloo",
        "credit": "identical",
        "baseline": "leave_one_out",
        "shrinkage": 0.0,
        "optimizer": "adamw",
        "epochs": 1,
    },
    "offline": {
        "loss": "awr",
        "credit": "return_to_go",
        "optimizer": "adamw",
        "epochs": 3,
        "max_version_lag": 50,
        "max_mismatch": 1.0,
    },
    "imitate": {
        "loss": "rft",
        "credit": "return_to_go",
        "baseline": "midrange",
        "air": 0.0,
        "optimizer": "adamw",
        "epochs": 4,
        "heldout_share": 0.1,
    },
    "feedback": {"feedback": 1.0},
}
"""Values that differ from the defaults; `lightning` is the defaults."""


def fill(given: dict[str, Any]) -> dict[str, Any]:
    """Add the values of the recipe to settings that were given, which win.

    >>> fill({"recipe": "rloo", "epochs": 2})["epochs"], fill({"recipe": "rloo"})["baseline"]
    (2, 'leave_one_out')
    """
    recipe = given.get("recipe", "lightning")
    return {**RECIPES.get(recipe, {}), **given}
