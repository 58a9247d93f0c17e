"""Which version of a span stays, when one with the same id was stored before.

One span is stored once per (project, trace_id, span_id). The same id with the same content is ignored. The same id with
other content keeps the row that ended later, and of two that ended together the one whose digest is larger: whatever
the order of arrival, the outcome is the same. A sealed day no longer changes.
"""

import contextlib
from collections import Counter

import duckdb
import pyarrow as pa

from receiver.decode.arrow import SCHEMAS
from receiver.decode.shared import canonical
from receiver.tables import SHARED_TEXTS, SPANS
from receiver.traces import OF_SPANS

IDS = ("project", "trace_id", "span_id")
NOT_CONTENT = frozenset({"project", "received_time", "received_seq", "start_time", "end_time"})
CONTENT = ", '|', ".join(
    f"coalesce(length({content}::varchar) || ':' || {content}::varchar, '-')"
    for content in (canonical(column.name) for column in SPANS if column.name not in NOT_CONTENT)
)
DIGEST = f"sha256(concat({CONTENT}))"
"""Digest of what a span says, whenever and however often it arrived. Lengths keep neighbouring columns apart."""

KEY = ", ".join(IDS)
COLUMNS = ", ".join(SCHEMAS["spans"].names)


def choose_winners(cursor: duckdb.DuckDBPyConnection, arrived: pa.Table) -> Counter[str]:
    """Keep one version of every span that arrived, in the temporary table `winners`; return what was dropped."""
    cursor.register("arrived", arrived)
    cursor.execute(
        f"""
        create temp table winners as
        select *, {DIGEST} as digest, false as is_stored
        from arrived
        qualify row_number() over (partition by {KEY} order by end_ns desc, digest desc) = 1
        """
    )
    versions, winners = cursor.execute(
        f"""
        select
            (select count(distinct ({KEY}, {DIGEST})) from arrived),
            (select count(*) from winners)
        """
    ).fetchall()[0]
    return Counter(conflicting_spans=versions - winners, duplicate_spans=arrived.num_rows - versions)


def settle_with_day(
    cursor: duckdb.DuckDBPyConnection,
    name: str,
    *,
    sealed: bool,
    committing: contextlib.AbstractContextManager[object],
) -> Counter[str]:
    """Compare the winners with a day file: newer ones replace its rows, all that it knows are marked as stored.

    Returns how many were there already. The replacement is one transaction, committed inside `committing`.
    """
    cursor.execute(
        f"""
        create temp table met as
        select
            {", ".join(f"w.{column}" for column in IDS)},
            w.digest = s.digest as is_same,
            (w.end_ns, w.digest) > (s.end_ns, s.digest) as is_newer
        from winners as w
        join (
            select {KEY}, end_ns, {DIGEST} as digest from {name}.spans semi join winners using ({KEY})
        ) as s using ({KEY})
        """
    )
    same, other, newer = cursor.execute(
        """
        select
            count(*) filter (where is_same),
            count(*) filter (where not is_same),
            count(*) filter (where is_newer)
        from met
        """
    ).fetchall()[0]
    if newer and not sealed:
        cursor.execute("begin")
        cursor.execute(f"delete from {name}.spans where ({KEY}) in (select ({KEY}) from met where is_newer)")
        cursor.execute(
            f"""
            insert into {name}.spans
            select {COLUMNS} from winners semi join (from met where is_newer) using ({KEY})
            """
        )
        _sum_anew(cursor, name)
        with committing:
            cursor.execute("commit")
    cursor.execute(f"update winners set is_stored = true where ({KEY}) in (select ({KEY}) from met)")
    cursor.execute("drop table met")
    return Counter(duplicate_spans=same, conflicting_spans=other)


def _sum_anew(cursor: duckdb.DuckDBPyConnection, name: str) -> None:
    """Sum the traces anew, of a day, in which a span was replaced."""
    touched = "(project, trace_id) in (select (project, trace_id) from met where is_newer)"
    cursor.execute(f"delete from {name}.trace_parts where {touched}")
    spans = f"(from {name}.spans where {touched})"
    cursor.execute(f"insert into {name}.trace_parts {OF_SPANS.format(spans=spans)}")


def keep_shared(cursor: duckdb.DuckDBPyConnection, name: str, shared: pa.Table) -> None:
    """Store the long texts that rows refer to in a day file, each once."""
    cursor.register("arrived_texts", shared)
    cursor.execute(
        f"""
        insert into {name}.{SHARED_TEXTS}
        select * from arrived_texts anti join {name}.{SHARED_TEXTS} using (reference)
        """
    )
    cursor.unregister("arrived_texts")


def new_spans(cursor: duckdb.DuckDBPyConnection) -> list[pa.RecordBatch]:
    """Return the winners that no day file knows."""
    new = cursor.sql(f"select {COLUMNS} from winners where not is_stored").to_arrow_table()
    batches: list[pa.RecordBatch] = new.cast(SCHEMAS["spans"]).combine_chunks().to_batches()
    return batches
