"""Draws one trace: its tree, what each span was read as, and the rewards it got, as chips."""

from pathlib import Path
from typing import Any

import polars as pl
from rich.markup import escape
from rich.tree import Tree

from etl.calls.tree import NO_PARENT, build_forest
from etl.episodes.grouping import Trace
from etl.exports.explain import explain
from etl.exports.stats import output_console
from etl.rewards.air import SIGNALS
from etl.runs.source import read_traces
from etl.settings import DialectEntry, EtlConfig
from etl.transform import transform
from foundation.errors import SettingsError
from receiver.schema import connect

Marks = dict[str, list[str]]
"""Chips by span id."""


def show_trace(data: Path, trace_id: str, *, project: str | None, width: int | None) -> None:
    """Print the tree of a trace to stdout."""
    reader = connect(data)
    try:
        trace = _find(reader.query, trace_id, project)
        spans, logs = read_traces(reader, {trace})
    finally:
        reader.close()
    output_console(width).print(draw(spans, logs))


def explain_trace(data: Path, trace_id: str, entries: list[DialectEntry], *, project: str | None) -> None:
    """Print of every span of a trace what it was read as, where each field came from, and what was not understood."""
    reader = connect(data)
    try:
        spans, logs = read_traces(reader, {_find(reader.query, trace_id, project)})
    finally:
        reader.close()
    for line in explain(spans, logs, entries):
        print(line)


def _find(query: Any, trace_id: str, project: str | None) -> Trace:  # noqa: ANN401 - the reader's bound method
    found = query(
        """
        select distinct project, trace_id
        from spans
        where starts_with(trace_id, ?)
            and (?::varchar is null or project = ?)
        order by all
        limit 5
        """,
        [trace_id.lower(), project, project],
    ).to_pylist()
    if not found:
        raise SettingsError(
            f"no trace begins with {trace_id}",
            hint='The last ones: spanloop sql "from traces order by start_time desc limit 10"',
        )
    if len(found) > 1:
        several = ", ".join(f"{row['trace_id']} ({row['project']})" for row in found)
        raise SettingsError(f"{trace_id} begins several traces: {several}", hint="Give more digits, or --project.")
    return found[0]["project"], found[0]["trace_id"]


def draw(spans: pl.DataFrame, logs: pl.DataFrame) -> Tree:
    """Draw the forest of a trace."""
    dataset = transform(spans, logs, EtlConfig())
    spans = spans.unique(["project", "trace_id", "span_id"]).sort("start_ns", "span_id")
    forest = build_forest(spans)
    marks = _marks(dataset.tables)
    episodes = dataset.tables["episodes"].to_dicts()
    title = ", ".join(f"episode {entry['episode_id']} outcome {_number(entry['outcome'])}" for entry in episodes)
    tree = Tree(f"[bold]{escape(title)}[/bold]")
    branches: dict[int, Tree] = {NO_PARENT: tree}
    rows = spans.select("span_id", "name", "start_ns", "end_ns", "status_code", "service_name").rows()
    for row in sorted(range(len(rows)), key=forest.enter.__getitem__):
        span_id, name, start_ns, end_ns, status, service = rows[row]
        parts = [escape(name), f"[dim]{(end_ns - start_ns) / 1e6:.1f} ms[/dim]"]
        if forest.parent[row] == NO_PARENT:
            parts.append(f"[dim]{escape(service or '')}[/dim]")
        if forest.is_orphan[row]:
            parts.append("[yellow]parent never arrived[/yellow]")
        if status == "error":
            parts.append("[red]error[/red]")
        parts += marks.get(span_id, [])
        branches[row] = branches[forest.parent[row]].add(" ".join(parts))
    return tree


def _marks(tables: dict[str, pl.DataFrame]) -> Marks:
    marks: Marks = {}
    for row in tables["transitions"].iter_rows(named=True):
        chips = [f"[bold cyan]step {row['step']}[/bold cyan]", f"evidence {row['evidence']}"]
        chips += [_chip(name, row[f"reward_{name}"]) for name in ("outcome", "step", *SIGNALS)]
        chips.append(f"return {_number(row['return_'])}")
        marks.setdefault(row["span_id"], []).extend(chip for chip in chips if chip)
    for row in tables["llm_calls"].iter_rows(named=True):
        for span_id in row["merged_span_ids"]:
            marks.setdefault(span_id, []).append(f"[cyan]same call as {row['span_id']}[/cyan]")
    for row in tables["rejected"].iter_rows(named=True):
        marks.setdefault(row["span_id"], []).append(f"[yellow]rejected: {row['reason']}[/yellow]")
    for row in tables["tool_calls"].iter_rows(named=True):
        chip = f"[magenta]tool {escape(row['name'] or '')}[/magenta]"
        marks.setdefault(row["span_id"], []).append(chip)
        if row["attribution_rule"]:
            marks[row["span_id"]].append(f"[dim]caused by {row['caused_by_span_id']} ({row['attribution_rule']})[/dim]")
    for row in tables["rewards"].iter_rows(named=True):
        if row["span_id"] is not None:
            used = "" if row["used"] else f" ({row['reason']})"
            chip = f"[green]{escape(row['name'])} {_number(row['value'])}{used}[/green]"
            marks.setdefault(row["span_id"], []).append(chip)
    return marks


def _chip(name: str, value: float | None) -> str:
    if value is None:
        return ""
    color = "green" if value > 0 else "red" if value < 0 else "dim"
    return f"[{color}]{name} {_number(value)}[/{color}]"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.3g}"
