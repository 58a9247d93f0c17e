"""Adds up the rewards of an episode's steps, with the intermediate ones bounded so that they never reorder outcomes."""

from collections.abc import Sequence
from dataclasses import dataclass

SHARE = 0.49
"""Of the smallest gap between outcomes. Below one half: a failure with all its intermediate rewards at their best stays
below a success with all of its own at their worst."""


@dataclass(frozen=True, slots=True)
class Combined:
    """The rewards of one episode, step by step."""

    reward: list[float | None]
    return_: list[float | None]
    air_scale: float
    """Factor all intermediate rewards read off the trace were multiplied with; 1 unless the bound was reached."""


def combine(
    outcome: float | None,
    steps: Sequence[float | None],
    air: Sequence[float | None],
    *,
    outcome_gap: float,
    discount: float,
) -> Combined:
    """Combine the outcome, which belongs to the last step, with given step rewards and with AIR.

    A step about which nothing is known has reward null; its return is null when nothing after it is known either.

    >>> combine(1.0, [None, None], [-0.25, None], outcome_gap=1.0, discount=1.0)
    Combined(reward=[-0.25, 1.0], return_=[0.75, 1.0], air_scale=1.0)
    """
    size = len(steps)
    gained = sum(value for value in air if value is not None and value > 0)
    lost = -sum(value for value in air if value is not None and value < 0)
    limit = SHARE * outcome_gap
    largest = max(gained, lost)
    scale = limit / largest if largest > limit else 1.0
    rewards: list[float | None] = []
    for position in range(size):
        parts = [steps[position]]
        measured = air[position]
        parts.append(None if measured is None else measured * scale)
        parts.append(outcome if position == size - 1 else None)
        known = [part for part in parts if part is not None]
        rewards.append(sum(known) if known else None)
    returns: list[float | None] = [None] * size
    following: float | None = None
    for position in reversed(range(size)):
        own = rewards[position]
        if own is not None or following is not None:
            following = (own or 0.0) + discount * (following or 0.0)
        returns[position] = following
    return Combined(rewards, returns, scale)
