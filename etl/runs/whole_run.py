"""What takes a whole run, once its buckets are done: the progress of its episodes, and the gap between its outcomes.

So neither is another where the run was divided otherwise. Only parts in which that changes a row are written anew.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from etl.published.publish import rewrite
from etl.published.window import Window
from etl.rewards.combine import outcome_gap, recombine
from etl.rewards.signals.progress import Course, progress
from etl.runs.work import Processed
from etl.schema import TABLES, dataset_directory
from etl.settings import EtlConfig
from etl.tables import IS_TAKEN, scan

EPISODE = ["project", "episode_id"]


def settle_rewards(config: EtlConfig, window: Window, results: Sequence[Processed]) -> list[Processed]:
    """Return the results with the rewards of all; the very same objects where nothing changes."""
    outcomes = [_column(config.data, done, "episodes", "outcome") for done in results]
    gap = outcome_gap(pl.concat(outcomes).unique() if outcomes else [], config)
    moved = _progress(config, results) if config.progress else None
    return [
        done
        if moved is None and outcome_gap(own.unique(), config) == gap
        else _rewritten(config, window, done, gap, moved)
        for done, own in zip(results, outcomes, strict=True)
    ]


def _files(data: Path, done: Processed, table: str) -> list[Path]:
    return [dataset_directory(data, table) / name for name in done.parts.get(table, ())]


def _column(data: Path, done: Processed, table: str, column: str) -> pl.Series:
    return scan(table, _files(data, done, table)).select(column).collect()[column]


def _progress(config: EtlConfig, results: Sequence[Processed]) -> pl.DataFrame | None:
    files = [path for done in results for path in _files(config.data, done, "transitions")]
    return measure_progress(scan("transitions", files), config.discount)


def measure_progress(transitions: pl.LazyFrame, discount: float) -> pl.DataFrame | None:
    """Return the progress of every transition, `_moved`; None where too little is known of outcomes."""
    before = [
        pl.col("signals").str.json_path_match(f"$.{name}").cast(pl.Float64).fill_null(0.0).alias(name)
        for name in ("tool_status", "argument_schema", "repetition")
    ]
    so_far = [pl.col(e.meta.output_name()).cum_sum().shift(1, fill_value=0.0).over(EPISODE) for e in before]
    rows = (
        transitions.filter(IS_TAKEN)
        .sort(*EPISODE, "step")
        .select(
            *EPISODE,
            "step",
            "task_id",
            "outcome",
            pl.col("observation").str.len_chars().fill_null(0).log1p().alias("length"),
            *before,
        )
        .with_columns(so_far)
        .collect()
    )
    if rows.is_empty():
        return None
    states = rows.select(
        pl.col("step").cast(pl.Float64), "length", "tool_status", "argument_schema", "repetition"
    ).rows()
    courses: list[Course] = []
    ends = rows.select(pl.struct(EPISODE).rle_id().alias("run")).group_by("run", maintain_order=True).len()["len"]
    start = 0
    for length in ends:
        courses.append(Course(rows["task_id"][start] or "", states[start : start + length], rows["outcome"][start]))
        start += length
    found = progress(courses, discount)
    if found is None:
        return None
    values = pl.Series([value for course in found for value in course], dtype=pl.Float64)
    return rows.select(*EPISODE, "step", _moved=values)


def _with_progress() -> pl.Expr:
    """Return what was measured, progress among it: the object's text with one more member."""
    others = pl.col("signals").str.strip_suffix("}")
    comma = pl.when(others == "{").then(pl.lit("")).otherwise(pl.lit(","))
    told = pl.concat_str(others, comma, pl.lit('"progress":'), pl.col("_moved").cast(pl.String), pl.lit("}"))
    return pl.coalesce(told, "signals")


def _rewritten(config: EtlConfig, window: Window, done: Processed, gap: float, moved: pl.DataFrame | None) -> Processed:
    def change(rows: pl.DataFrame) -> pl.DataFrame:
        if moved is not None:
            joined = rows.join(moved, on=[*EPISODE, "step"], how="left", maintain_order="left")
            joined = joined.with_columns(_moved=pl.when(IS_TAKEN).then("_moved"))
            rows = joined.with_columns(reward_progress=pl.col("_moved") * config.progress, signals=_with_progress())
        return recombine(rows, config, gap).select(*TABLES["transitions"])

    names = done.parts.get("transitions", ())
    parts = {**done.parts, "transitions": [rewrite(config.data, "transitions", window, name, change) for name in names]}
    return replace(done, parts={table: files for table, files in parts.items() if files})
