"""What every call of a run was credited with: the rows of `credit.parquet`, which say why it was pushed up or down."""

import io
import math
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from foundation.files import write_atomically
from train.plan import Plan
from train.schema import CREDIT, CREDIT_FILE


def tabulate(plan: Plan, checkpoint_id: str) -> pl.DataFrame:
    """Return one row for each call whose tokens could be trained, in the order of the log."""
    logged, route = plan.logged, plan.route
    chosen = np.flatnonzero(logged.is_trained())
    calls = [logged.calls[index] for index in chosen]
    episodes = [logged.episodes[call.episode] for call in calls]
    columns = {
        "project": [episode.project for episode in episodes],
        "checkpoint_id": [checkpoint_id] * len(calls),
        "episode_id": [episode.episode_id for episode in episodes],
        "span_id": [call.span_id for call in calls],
        "agent": [call.agent for call in calls],
        "turn": [call.turn for call in calls],
        "outcome": [None if math.isnan(episode.outcome) else episode.outcome for episode in episodes],
        "intermediate": [call.intermediate for call in calls],
        "return_": _of(plan.targets, chosen),
        "value": _of(plan.values, chosen),
        "advantage": _of(plan.credited, chosen),
        "known": [call.evidence.value for call in calls],
        "loss": [route.losses[route.loss[index]] for index in chosen],
        "weight": _of(route.weight, chosen),
        "taken": _of(plan.advantages, chosen),
        "num_tokens": [len(call.response_ids) for call in calls],
    }
    return pl.DataFrame(columns, schema={name: getattr(pl, dtype) for name, dtype in CREDIT.items()})


def write_credit(directory: Path, plan: Plan, checkpoint_id: str) -> None:
    """Write the credit of a checkpoint's calls into its directory, durably."""
    buffer = io.BytesIO()
    tabulate(plan, checkpoint_id).write_parquet(buffer)
    write_atomically(directory / CREDIT_FILE, buffer.getvalue())


def _of(values: NDArray[np.float64] | None, chosen: NDArray[np.intp]) -> list[float | None]:
    """Return the chosen values, null where there are none."""
    if values is None:
        return [None] * len(chosen)
    return [float(value) if np.isfinite(value) else None for value in values[chosen]]
