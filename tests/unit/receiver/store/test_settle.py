"""Which version of a span stays, whatever the order they came in."""

import itertools
import threading
from collections import Counter

import duckdb
import pyarrow as pa
import pytest

from receiver.days.files import create_tables
from receiver.decode.arrow import decode
from receiver.decode.otlp import Signal
from receiver.decode.shared import SharedTexts
from receiver.store import settle
from tests.export_requests import attribute, span, traces


def arrived(*names_and_seconds: tuple[str, float]) -> pa.Table:
    batches = [
        decode(Signal.TRACES, traces(span(1, name=name, seconds=seconds)), project="p", received_ns=1, seq=1)
        for name, seconds in names_and_seconds
    ]
    return pa.Table.from_batches(batches)


@pytest.fixture
def cursor() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    connection.execute("attach ':memory:' as day")
    create_tables(connection, "day")
    return connection


@pytest.mark.parametrize("order", [*itertools.permutations([("a", 1.0), ("b", 2.0), ("c", 2.0), ("b", 2.0)])])
def test_one_version_stays_whatever_the_order(order: tuple[tuple[str, float], ...]) -> None:
    """The one that ended last; of two that ended together always the same one."""
    connection = duckdb.connect(":memory:")
    counts = settle.choose_winners(connection, arrived(*order))

    (winner,) = connection.execute("select name from winners").fetchall()
    reference = duckdb.connect(":memory:")
    settle.choose_winners(reference, arrived(("b", 2.0), ("c", 2.0)))
    assert reference.execute("select name from winners").fetchall() == [winner]
    assert counts == Counter(conflicting_spans=2, duplicate_spans=1)


@pytest.mark.parametrize(
    ("sealed", "seconds", "stored"), [(False, 2.0, "new"), (False, 0.5, "old"), (True, 2.0, "old")]
)
def test_a_newer_version_replaces_the_one_in_a_day_that_takes_writes(
    cursor: duckdb.DuckDBPyConnection, stored: str, seconds: float, *, sealed: bool
) -> None:
    """A sealed day keeps what it has; either way nothing is left to store."""
    cursor.register("before", arrived(("old", 1.0)))
    cursor.execute("insert into day.spans from before")
    settle.choose_winners(cursor, arrived(("new", seconds)))
    counts = settle.settle_with_day(cursor, "day", sealed=sealed, committing=threading.Lock())

    assert cursor.execute("select name from day.spans").fetchall() == [(stored,)]
    assert counts == Counter(conflicting_spans=1, duplicate_spans=0)
    assert settle.new_spans(cursor) == []


def test_a_text_in_the_row_and_a_reference_to_it_are_the_same(cursor: duckdb.DuckDBPyConnection) -> None:
    """How a resource is kept is no part of what a span says."""
    message = traces(span(1))
    message.resource_spans[0].resource.attributes.append(attribute("large", "x" * 5000))
    batch = decode(Signal.TRACES, message, project="p", received_ns=1, seq=1, shared=(shared := SharedTexts()))
    (text,) = shared.texts.values()
    inline = batch.set_column(batch.schema.get_field_index("resource"), "resource", pa.array([text]))
    counts = settle.choose_winners(cursor, pa.Table.from_batches([batch, inline]))

    assert counts == Counter(duplicate_spans=1, conflicting_spans=0)


def test_a_shared_text_is_stored_once(cursor: duckdb.DuckDBPyConnection) -> None:
    """However many requests bring it."""
    texts = pa.table({"reference": ["shared:a", "shared:b"], "text": ["A", "B"]})
    settle.keep_shared(cursor, "day", texts.slice(0, 1))
    settle.keep_shared(cursor, "day", texts)

    assert cursor.execute("from day.shared_texts order by all").fetchall() == [("shared:a", "A"), ("shared:b", "B")]
