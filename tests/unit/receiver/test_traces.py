"""What the spans of a trace come to is the same however they arrived, landed, were replaced, sealed or copied."""

import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from receiver.days.files import day_files, day_of
from receiver.days.forgetting import forget
from receiver.schema import connect
from receiver.tables import TRACE_PARTS
from receiver.traces import OF_PARTS, OF_SPANS
from tests.export_requests import START_NS, span
from tests.unit.receiver.store.test_landing import DAY, DAY_NS, Landing

EVERYTHING = "select * from ({}) order by project, trace_id"


def made(seed: int, count: int = 40) -> list[Any]:
    """Spans of some traces: roots, two roots in one, none in another, failures, versions of one span."""
    chance = random.Random(seed)
    spans = []
    for number in range(1, count + 1):
        trace = 1 + chance.randrange(9)
        is_root = trace != 3 and chance.random() < 0.2
        spans.append(
            span(
                number,
                name=f"n{number}",
                seconds=chance.randrange(9),
                trace_id=bytes([trace]) * 16,
                start_time_unix_nano=START_NS + number * 1000,
                parent_span_id=b"" if is_root else b"12345678",
                status={"code": chance.choice([0, 1, 2])},
            )
        )
        if chance.random() < 0.2:
            newer = type(spans[-1])()
            newer.CopyFrom(spans[-1])
            newer.end_time_unix_nano += 10**10
            newer.status.code = 2
            spans.append(newer)
    chance.shuffle(spans)
    return spans


def summed(landing: Landing) -> tuple[list[Any], list[Any]]:
    """Return the sums as they are kept, and as the spans themselves give them."""
    kept = landing.query(EVERYTHING.format(OF_PARTS.format(parts="trace_parts")))
    return kept, landing.query(EVERYTHING.format(OF_SPANS.format(spans="spans")))


@pytest.mark.parametrize("seed", range(2))
def test_sums_are_those_of_the_spans(tmp_path: Path, seed: int) -> None:
    """Over two days, in requests of any size, some landed, some not; sealed and started anew."""
    chance = random.Random(seed)
    landing = Landing(tmp_path)
    spans = made(seed)
    while spans:
        size = chance.randrange(1, 9)
        taken, spans = spans[:size], spans[size:]
        day = DAY if len(spans) > 20 else DAY + DAY_NS
        landing.arrive(*taken, received_ns=day, project=chance.choice(["shop", "bank"]))
        if chance.random() < 0.3:
            landing.store.land()
    kept, truth = summed(landing)
    assert kept == truth
    assert sum(row[-2] for row in kept) == landing.query("select count(*) from spans")[0][0]

    landing.store.land()
    landing.store.seal(day_of(DAY) + timedelta(days=9))
    assert summed(landing) == (truth, truth)
    landing.store.close()

    again = Landing(tmp_path, today=date(2026, 4, 1))
    assert summed(again) == (truth, truth)
    again.store.close()


def test_a_sealed_day_has_one_row_a_trace(tmp_path: Path) -> None:
    """In the order the traces began."""
    landing = Landing(tmp_path)
    for one in made(7):
        landing.arrive(one)
        landing.store.land()
    landing.store.seal(day_of(DAY) + timedelta(days=9))

    starts = landing.query("select start_ns from trace_parts")
    assert len(starts) == len({*starts}) == landing.query("select count(distinct trace_id) from spans")[0][0]
    assert starts == sorted(starts)


def test_a_directory_of_an_earlier_release_gets_its_sums(tmp_path: Path) -> None:
    """At the next start or the next reading."""
    landing = Landing(tmp_path)
    landing.arrive(*made(1))
    landing.store.land()
    _, truth = summed(landing)
    landing.store.close()
    for path in day_files(tmp_path).values():
        with duckdb.connect(str(path)) as old:
            old.execute("drop table trace_parts")
            old.execute("update schema_version set version = 3")

    reader = connect(tmp_path)
    names = ", ".join(column.name for column in TRACE_PARTS)
    rows = reader.query(f"select {names} from trace_parts order by project, trace_id").to_pylist()
    reader.close()

    assert [tuple(row.values()) for row in rows] == truth


def test_what_is_forgotten_is_in_no_sum(tmp_path: Path) -> None:
    """A row of a trace says when it was, and what its root was called."""
    landing = Landing(tmp_path)
    landing.arrive(*made(2))
    landing.store.close()
    forget(tmp_path, [("default", "01" * 16)], [])

    again = Landing(tmp_path)
    kept, truth = summed(again)
    assert kept == truth
    assert "01" * 16 not in {row[1] for row in kept}
    again.store.close()


def test_the_columns_are_those_that_are_published(tmp_path: Path) -> None:
    """In their order, with their types, whether summed from spans or from sums."""
    landing = Landing(tmp_path)
    declared = [(column.name, column.type) for column in TRACE_PARTS]
    for sql in (OF_SPANS.format(spans="spans"), OF_PARTS.format(parts="trace_parts")):
        described = landing.query(f"select column_name, column_type from (describe {sql})")
        assert described == declared
    landing.store.close()
