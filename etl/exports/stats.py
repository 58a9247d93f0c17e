"""Says what a dataset holds: which fields each producer fills, and what each signal has to do with outcomes."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from etl.exports.export import read_table
from etl.rewards.air import SIGNALS
from etl.tables import IS_TAKEN

FIELDS = {
    "agent": "agt",
    "model_requested": "req",
    "model_returned": "mod",
    "streamed": "str",
    "params": "par",
    "tools": "tls",
    "input": "in",
    "output": "out",
    "usage": "use",
    "response_id": "rid",
    "conversation_id": "cid",
    "prompt_token_ids": "pti",
    "response_token_ids": "rti",
    "behavior_logprobs": "lgp",
}
"""Fields of a model call whose coverage is shown, with what they are called where a terminal is narrow."""

WIDE = 200
"""Columns from which on the fields are shown under their names."""

PIPE_WIDTH = 10_000
"""Columns where nobody looks: nothing is cut off or wrapped before a program reads it."""


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
    judged = transitions.filter(IS_TAKEN).sort("project", "episode_id", "step")
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


def output_console(width: int | None) -> Console:
    """Return the console on stdout: as wide as asked, else as the terminal is; a pipe has no width."""
    if width is None and not sys.stdout.isatty():
        width = PIPE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False)


def show(found: dict[str, Any], *, width: int | None = None) -> None:
    """Print the statistics on stdout."""
    console = output_console(width)
    titles = {
        "signals": "Signals and the outcome, by episode",
        "rewards": "Rewards",
        "evidence": "Evidence",
        "splits": "Splits",
        "rejected": "Rejected",
    }
    if not any(found.values()):
        console.print("Nothing is published yet. `spanloop etl run` does that.")
    if found["coverage"]:
        _show_coverage(console, found["coverage"])
    for key, title in titles.items():
        if not found[key]:
            continue
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name, value in found[key][0].items():
            table.add_column(name, justify="left" if isinstance(value, str) else "right", overflow="fold")
        for row in found[key]:
            table.add_row(*(_cell(name, value) for name, value in row.items()))
        console.print(table)
        console.print()


def _show_coverage(console: Console, rows: list[dict[str, Any]]) -> None:
    """Print the matrix of producers and fields: percent of calls, a dot where none has the field."""
    is_wide = console.width >= WIDE
    title = "Share of calls each field is known of, in percent, by producer"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    longest = max(len(_producer(row)) for row in rows)
    own = longest if is_wide else max(12, min(longest, console.width - 4 * len(FIELDS) - len(" calls ")))
    table.add_column("producer", no_wrap=True, overflow="ellipsis", width=own)
    for name, short in {"calls": "calls", **FIELDS}.items():
        table.add_column(
            name if is_wide else short, justify="right", no_wrap=True, min_width=5 if name == "calls" else 3
        )
    for row in rows:
        table.add_row(_producer(row), str(row["calls"]), *(_percent(row[name]) for name in FIELDS))
    console.print(table)
    if not is_wide:
        console.print(f"[dim]{', '.join(f'{short} {name}' for name, short in FIELDS.items() if short != name)}[/dim]")
    console.print()


def _producer(row: dict[str, Any]) -> str:
    """Return how a producer is shown: its dialect, and the last words of its scope where they add to it."""
    scope = ".".join((row["scope_name"] or "").split(".")[-2:])
    return str(row["dialect"]) if scope in {"", row["dialect"]} else f"{row['dialect']}  {escape(scope)}"


def _percent(share: float) -> str:
    if share == 0:
        return "[dim]·[/dim]"
    text = str(min(max(round(share * 100), 1), 99 if share < 1 else 100))
    return text if share == 1 else f"[yellow]{text}[/yellow]"


def _cell(name: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:+.3f}" if name == "correlation" else f"{value:.0%}"
    return escape(str(value))
