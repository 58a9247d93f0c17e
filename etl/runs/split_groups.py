"""Puts the tasks of a whole run into groups with each other and with those published before, once its buckets are done.

A bucket knows its own tasks only. Here those of all buckets come into groups in the order they were received, after the
tasks that are published, which keep their groups: so neither buckets nor the processes they were divided among show,
and no published row changes sides because of what came later. Parts in which that changes a group are written anew.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from etl.episodes.splits import side_of
from etl.published.known_tasks import TASK, in_order_of_coming, known_tasks, signatures_of
from etl.published.publish import rewrite
from etl.published.window import Window
from etl.runs.work import Processed
from etl.schema import dataset_directory, table_files
from etl.settings import EtlConfig
from etl.tables import scan
from foundation.near_duplicates import near_groups

EPISODE = ("project", "episode_id")
WITH_SPLITS = ("episodes", "transitions")
"""Tables whose rows say on which side they are."""


def settle_groups(config: EtlConfig, window: Window, results: Sequence[Processed]) -> list[Processed]:
    """Return the results with every task in its group; the very same objects where nothing changes."""
    own = _tasks([path for done in results for path in _episodes(config.data, done)])
    if own.is_empty():
        return list(results)
    wanted = signatures_of(own)
    known = known_tasks(table_files(config.data, "episodes"), wanted)
    groups = near_groups(wanted, known.signatures, known.groups, known.sizes)
    changed = own.select(*EPISODE, "split_group", found=pl.Series(groups)).filter(
        pl.col("found") != pl.col("split_group")
    )
    if changed.is_empty():
        return list(results)
    sides = {group: side_of(group, config).value for group in changed["found"].unique()}
    changed = changed.select(*EPISODE, split=pl.col("found").replace_strict(sides), split_group="found")
    return [_regrouped(config.data, window, done, changed) for done in results]


def _episodes(data: Path, done: Processed) -> list[Path]:
    return [dataset_directory(data, "episodes") / name for name in done.parts.get("episodes", ())]


def _tasks(files: Sequence[Path]) -> pl.DataFrame:
    """Return the tasks that were taken by their words, in the order they come into groups."""
    tasks = scan("episodes", files).select(*EPISODE, *TASK).filter(pl.col("split_signature").is_not_null()).collect()
    return in_order_of_coming(tasks)


def _regrouped(data: Path, window: Window, done: Processed, changed: pl.DataFrame) -> Processed:
    """Return what came of a bucket with these episodes' groups and sides changed."""
    own = scan("episodes", _episodes(data, done)).select(EPISODE)
    if own.join(changed.lazy(), on=EPISODE, how="semi").head(1).collect().is_empty():
        return done
    parts = {
        table: [rewrite(data, table, window, name, lambda rows: _with_splits(rows, changed)) for name in names]
        if table in WITH_SPLITS
        else names
        for table, names in done.parts.items()
    }
    return replace(done, parts=parts)


def _with_splits(rows: pl.DataFrame, changed: pl.DataFrame) -> pl.DataFrame:
    columns = ("split", "split_group")
    joined = rows.join(changed, on=EPISODE, how="left", suffix="_new", maintain_order="left")
    return joined.select(
        pl.coalesce(f"{name}_new", name).alias(name) if name in columns else pl.col(name) for name in rows.columns
    )
