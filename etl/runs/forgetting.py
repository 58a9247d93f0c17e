"""Takes traces out of what is published: those to be forgotten, and those older than their keeper wants them."""

import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import polars as pl

from etl.episodes.grouping import Trace
from etl.published.publish import load_watermark, publish
from etl.published.rows import Published
from etl.published.window import Window
from etl.runs import division
from etl.schema import TABLES, table_files
from etl.tables import scan
from foundation.files import exclusive

DAY_NS = 86_400 * 10**9


def forget(data: Path, traces: Collection[Trace], *, dry_run: bool = False) -> Counter[str]:
    """Take traces out of every published table, by one rename; return how many rows of each go.

    Episodes go whole: those of their traces that are not to be forgotten are computed anew by the next run, from what
    the receiver keeps.
    """
    with exclusive(data / "dataset" / "lock", purpose="spanloop etl forget"):
        watermark = load_watermark(data)
        gone = Published(data).with_their_episodes(set(traces))
        counts = _count(data, gone)
        if not dry_run:
            division.discard(data)
            known = {(project, trace_id) for project, trace_id in watermark["pending"]}
            pending = (known | (gone if counts.total() else set())) - set(traces)
            processed = watermark["received_seq"]
            publish(data, Window(processed, processed), gone, (), pending, processed)
    return counts


def _count(data: Path, gone: Collection[Trace]) -> Counter[str]:
    wanted = pl.LazyFrame(sorted(gone), schema={"project": pl.String, "trace_id": pl.String}, orient="row")
    counts: Counter[str] = Counter()
    for table in TABLES:
        rows = scan(table, table_files(data, table))
        if table == "episodes":
            rows = rows.with_columns(trace_id=pl.col("trace_ids").list.first())
        counts[table] = rows.join(wanted, on=["project", "trace_id"], how="semi").select(pl.len()).collect().item()
    return counts


def prune(data: Path, *, retain_days: int, dry_run: bool = False, now_ns: int | None = None) -> Counter[str]:
    """Take the episodes out that ended longer ago than some days; return how many rows of each table go."""
    oldest_ns = (time.time_ns() if now_ns is None else now_ns) - retain_days * DAY_NS
    old = scan("episodes", table_files(data, "episodes")).filter(pl.col("end_ns") < oldest_ns)
    traces = old.select("project", trace_id="trace_ids").explode("trace_id").collect()
    return forget(data, set(traces.iter_rows()), dry_run=dry_run)
