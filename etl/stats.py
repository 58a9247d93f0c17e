"""Says what a dataset holds: which fields each producer fills, and what each signal has to do with outcomes."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from etl.export import read_table
from etl.rewards.air import SIGNALS

FIELDS = (
    "agent",
    "model_requested",
    "model_returned",
    "streamed",
    "params",
    "tools",
    "input",
    "output",
    "usage",
    "response_id",
    "conversation_id",
    "prompt_token_ids",
    "response_token_ids",
    "behavior_logprobs",
)
"""Fields of a model call whose coverage is shown."""


def stats(data: Path) -> dict[str, Any]:
    """Return the statistics of everything that is published."""
    calls, transitions, rewards, rejected = (
        read_table(data, table) for table in ("llm_calls", "transitions", "rewards", "rejected")
    )
    return {
        "coverage": coverage(calls),
        "signals": correlations(transitions),
        "rewards": _by(rewards, "name", "source", "reason"),
        "evidence": _by(transitions, "evidence"),
        "splits": _by(transitions, "split"),
        "rejected": _by(rejected, "stage", "reason"),
    }


def _by(rows: pl.DataFrame, *names: str) -> list[dict[str, Any]]:
    return rows.group_by(names).len("count").sort(*names, nulls_last=True).to_dicts()


def coverage(calls: pl.DataFrame) -> list[dict[str, Any]]:
    """Return, for each producer, its number of calls and the share of them each field is known of."""
    empty = pl.col("params") == "{}"
    known = calls.with_columns(params=pl.when(empty).then(None).otherwise(pl.col("params")))
    shares = [pl.col(name).is_not_null().mean().round(4) for name in FIELDS]
    return (
        known.group_by("dialect", "scope_name")
        .agg(pl.len().alias("calls"), *shares)
        .sort("dialect", "scope_name", nulls_last=True)
        .to_dicts()
    )


def correlations(transitions: pl.DataFrame) -> list[dict[str, Any]]:
    """Return what each signal, summed over an episode, has to do with its outcome.

    `correlation` is Pearson's, over the episodes with an outcome in which the signal was measured; null where it or the
    outcome never varies. A signal whose correlation is not positive punishes what does no harm.
    """
    sums: dict[str, list[tuple[float, float]]] = {name: [] for name in SIGNALS}
    measured = dict.fromkeys(SIGNALS, 0)
    fired = dict.fromkeys(SIGNALS, 0)
    judged = transitions.sort("project", "episode_id", "step")
    for (_, _), rows in judged.group_by("project", "episode_id", maintain_order=True):
        outcome = rows["outcome"][0]
        totals: dict[str, float] = {}
        for text in rows["signals"]:
            for name, value in json.loads(text or "{}").items():
                measured[name] += 1
                fired[name] += value != 0
                totals[name] = totals.get(name, 0.0) + value
        if outcome is not None:
            for name, total in totals.items():
                sums[name].append((total, outcome))
    return [
        {
            "signal": name,
            "calls": measured[name],
            "fired": fired[name],
            "episodes": len(sums[name]),
            "correlation": _pearson(sums[name]),
        }
        for name in SIGNALS
    ]


def _pearson(pairs: list[tuple[float, float]]) -> float | None:
    if len(pairs) < 2:
        return None
    values = np.asarray(pairs, dtype=np.float64)
    if np.ptp(values[:, 0]) == 0 or np.ptp(values[:, 1]) == 0:
        return None
    found = float(np.corrcoef(values.T)[0, 1])
    return round(found, 4) if math.isfinite(found) else None


def show(found: dict[str, Any], *, width: int | None = None) -> None:
    """Print the statistics on stdout."""
    console = Console(file=sys.stdout, width=width, highlight=False)
    titles = {
        "coverage": "Share of calls each field is known of, by producer",
        "signals": "Signals and the outcome, by episode",
        "rewards": "Rewards",
        "evidence": "Evidence",
        "splits": "Splits",
        "rejected": "Rejected",
    }
    for key, title in titles.items():
        if not found[key]:
            continue
        table = Table(*found[key][0], title=title, title_justify="left", box=None, pad_edge=False)
        for row in found[key]:
            table.add_row(*(_cell(name, value) for name, value in row.items()))
        console.print(table)
        console.print()


def _cell(name: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:+.3f}" if name == "correlation" else f"{value:.0%}"
    return str(value)
