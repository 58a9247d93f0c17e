"""Days of a store and what receivers hold, read as one: every row once, and no file more than a statement needs."""

from datetime import timedelta
from pathlib import Path

import pytest

from foundation.errors import Busy, SpanloopError
from foundation.store.pointer import read_pointer, write_pointer
from foundation.store.store import Store
from receiver.days.forgetting import forget
from receiver.reading.archive import pointer_key, push_days, receiver_name
from receiver.reading.files import FileReader
from receiver.reading.stored import StoredReader, remove_kept
from receiver.tables import SCHEMA_VERSION
from tests.stores import KINDS, new_store
from tests.unit.receiver.days.three_days import FIRST, three_days

TODAY = FIRST + timedelta(days=3)
SPANS = "select * from spans order by span_id"


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store(request.param, tmp_path)


@pytest.fixture
def data(tmp_path: Path, store: Store) -> Path:
    """Three days, two of them in the store as well."""
    landing = three_days(tmp_path / "data", one_each=True)
    landing.store.seal(TODAY)
    landing.store.close()
    push_days(tmp_path / "data", store, today=TODAY)
    return tmp_path / "data"


def test_sealed_days_read_as_their_receiver_answers(store: Store, data: Path, tmp_path: Path) -> None:
    """Every column, and the view of traces; a directory that holds nothing itself is enough."""
    own, stored = FileReader(data), StoredReader(tmp_path / "elsewhere", [store])

    assert stored.query(SPANS).to_pylist() == own.query(SPANS).to_pylist()[:2]
    traces = "select * from traces order by trace_id"
    assert stored.query(traces).to_pylist() == own.query(traces).to_pylist()[:2]
    assert stored.query("select count(*) from log_records").column(0).to_pylist() == [0]
    own.close()
    stored.close()


@pytest.mark.parametrize(
    "sql",
    [
        SPANS,
        "select span_id, name from spans order by all",
        "select count(*) from spans",
        "select trace_id, num_spans from traces order by all",
        "select body, event_name from log_records",
        "select s.name, l.body from spans as s left join log_records as l using (trace_id) order by all",
    ],
)
def test_what_is_in_both_is_read_once(store: Store, data: Path, tmp_path: Path, sql: str) -> None:
    """A receiver keeps the days that it has pushed; another took a span that this one took as well."""
    expected = FileReader(data)
    both = StoredReader(tmp_path / "elsewhere", [store], live=[FileReader(data), FileReader(data)])
    receivers = StoredReader(tmp_path / "elsewhere", [], live=[FileReader(data), FileReader(data)])

    assert both.query(sql).to_pylist() == expected.query(sql).to_pylist()
    assert receivers.query(sql).to_pylist() == expected.query(sql).to_pylist()
    for reader in (expected, both, receivers):
        reader.close()


def test_files_come_once_and_for_named_traces_alone(store: Store, data: Path, tmp_path: Path) -> None:
    """The bucket of a trace is in the name of its file."""
    kept = tmp_path / "elsewhere" / "stored"
    reader = StoredReader(tmp_path / "elsewhere", [store])
    reader.query("select name from spans where trace_id = ?", ["0" * 32])
    assert [*kept.iterdir()] == []
    reader.query(SPANS)
    written = {path: path.stat().st_ino for path in kept.iterdir()}
    assert len(written) == 2
    reader.query(SPANS)
    reader.close()

    assert {path: path.stat().st_ino for path in kept.iterdir()} == written
    remove_kept(tmp_path / "elsewhere")
    assert [*kept.iterdir()] == []


def test_what_was_forgotten_is_kept_nowhere(store: Store, data: Path, tmp_path: Path) -> None:
    """A day that was replaced while it was read is said; its files go from here with the next reader."""
    reader, late = (StoredReader(tmp_path / name, [store]) for name in ("elsewhere", "late"))
    rows = reader.query(SPANS).to_pylist()
    forget(data, {("default", rows[0]["trace_id"])}, ())
    push_days(data, store, today=TODAY)
    with pytest.raises(Busy, match="has been replaced meanwhile"):
        late.query(SPANS)
    late.close()
    reader.close()

    after = StoredReader(tmp_path / "elsewhere", [store])
    assert [row["span_id"] for row in after.query(SPANS).to_pylist()] == [rows[1]["span_id"]]
    after.close()
    assert len([*(tmp_path / "elsewhere" / "stored").iterdir()]) == 1


def test_a_newer_release_s_days_are_refused_by_name(store: Store, data: Path, tmp_path: Path) -> None:
    """Rather than read without the columns it added."""
    key = pointer_key(FIRST, receiver_name(data))
    pointer = read_pointer(store, key)
    pointer.facts["columns"] = SCHEMA_VERSION + 1
    write_pointer(store, key, pointer)

    with pytest.raises(SpanloopError, match=f"has days of version {SCHEMA_VERSION + 1}"):
        StoredReader(tmp_path / "elsewhere", [store])
