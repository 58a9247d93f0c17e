"""Adds up the rewards of an episode's steps, with the intermediate ones bounded so that they never reorder outcomes.

The outcome is not discounted: it is what the episode came to, for every step of it. So what is read off the trace, kept
below half of the smallest difference between two outcomes, cannot bridge that at any discount or length. Progress is
outside the bound: as a difference of potentials it takes from every return the potential of the state it begins in, and
leaves the order of actions as it is (Ng, Harada and Russell 1999, theorem 1), which a bound of its own would not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from etl.schema import TRANSITIONS
from etl.settings import EtlConfig
from etl.tables import IS_TAKEN

SHARE = 0.49
"""Of the smallest gap between outcomes. Below one half: a failure with all its intermediate rewards at their best stays
below a success with all of its own at their worst."""

FINEST = 0.01
"""Outcomes nearer to each other than this count as equal where the gap is measured."""

UNBOUNDED = {"reward_outcome", "reward_step", "reward_progress"}
BOUNDED = [name for name in TRANSITIONS if name.startswith("reward_") and name not in UNBOUNDED]
"""Columns of what is read off the trace and bounded."""


@dataclass(frozen=True, slots=True)
class Combined:
    """The rewards of one episode, step by step."""

    reward: list[float | None]
    return_: list[float | None]
    air_scale: float
    """Factor the bounded rewards were multiplied with; 1 unless the bound was reached."""


def combine(
    outcome: float | None,
    steps: Sequence[float | None],
    air: Sequence[float | None],
    *,
    outcome_gap: float,
    discount: float,
    progress: Sequence[float | None] = (),
) -> Combined:
    """Combine the outcome, which the last step's reward holds, with given step rewards, AIR and progress.

    The return of a step is the outcome and the discounted sum of all other rewards from it on. A step about which
    nothing is known has reward null; its return is null when nothing after it is known either.

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
    returns: list[float | None] = []
    following: float | None = None
    for position in reversed(range(size)):
        measured = air[position]
        moved = progress[position] if progress else None
        parts = [steps[position], None if measured is None else measured * scale, moved]
        own = [part for part in parts if part is not None]
        if own or following is not None:
            following = sum(own) + discount * (following or 0.0)
        last = outcome if position == size - 1 else None
        rewards.append(sum(own) + (last or 0.0) if own or last is not None else None)
        known = [part for part in (outcome, following) if part is not None]
        returns.append(sum(known) if known else None)
    return Combined(rewards[::-1], returns[::-1], scale)


def outcome_gap(outcomes: Iterable[float | None], config: EtlConfig) -> float:
    """Return the difference between outcomes that must not be bridged: as set, else the smallest there is, at most 1.

    >>> outcome_gap([0.0, 1.0, None, 0.25], EtlConfig()), outcome_gap([0.5], EtlConfig())
    (0.25, 1.0)
    """
    if config.outcome_gap is not None:
        return config.outcome_gap
    known = sorted({outcome for outcome in outcomes if outcome is not None})
    gaps = [after - before for before, after in pairwise(known) if after - before >= FINEST]
    return min([1.0, *gaps])


def recombine(transitions: pl.DataFrame, config: EtlConfig, gap: float | None = None) -> pl.DataFrame:
    """Return transitions with the columns that are sums of others, in their order, whole episodes each.

    `gap`: the smallest difference between outcomes, where more is known of them than these rows.
    """
    gap = outcome_gap(transitions["outcome"].unique(), config) if gap is None else gap
    rows = transitions.with_row_index("_row")
    taken = _recombined(rows.filter(IS_TAKEN), config, gap)
    others = rows.filter(~IS_TAKEN)
    scales = taken.select("project", "episode_id", "air_scale").unique(["project", "episode_id"])
    own = pl.col("air_scale") * pl.sum_horizontal(BOUNDED)
    others = (
        others.drop("air_scale")
        .join(scales, on=["project", "episode_id"], how="left")
        .with_columns(reward=pl.when(pl.any_horizontal(pl.col(BOUNDED).is_not_null())).then(own))
        .with_columns(
            return_="reward",
            **{
                name: pl.lit(None, dtype=pl.Float64)
                for name in ("outcome", "reward_outcome", "reward_step", "reward_progress")
            },
        )
    )
    return pl.concat([taken, others.select(taken.columns)]).sort("_row").drop("_row")


def _recombined(taken: pl.DataFrame, config: EtlConfig, gap: float) -> pl.DataFrame:
    ordered = taken.sort("project", "episode_id", "step")
    is_any = pl.any_horizontal(pl.col(name).is_not_null() for name in BOUNDED)
    air = ordered.select(pl.when(is_any).then(pl.sum_horizontal(BOUNDED)))[BOUNDED[0]].to_list()
    steps, progress = ordered["reward_step"].to_list(), ordered["reward_progress"].to_list()
    outcomes, sizes = ordered["outcome"].to_list(), ordered.select(pl.struct("project", "episode_id").rle())
    rows: list[tuple[float | None, float | None, float | None, float]] = []
    for length in sizes.unnest(sizes.columns[0])["len"].to_list():
        start, end = len(rows), len(rows) + length
        made = combine(
            outcomes[start], steps[start:end], air[start:end],
            outcome_gap=gap, discount=config.discount, progress=progress[start:end],
        )  # fmt: skip
        last = [None] * (length - 1) + [outcomes[start]]
        rows += zip(made.reward, made.return_, last, [made.air_scale] * length, strict=True)
    names = ("reward", "return_", "reward_outcome", "air_scale")
    made_frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64), orient="row")
    return ordered.with_columns(made_frame)
