"""Numbers of requests grow over the life of DATA, whatever is removed from it."""

import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from foundation.errors import SpanloopError
from receiver.days import sequence
from receiver.days.files import day_files
from receiver.decode.otlp import Signal, read_protobuf
from receiver.pipeline import Pipeline
from tests.export_requests import span, traces

LONG_AGO_NS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1e9)


def store(data: Path, *numbers: int, now_ns: int | None = None) -> list[int]:
    with closing(Pipeline(data, clock=lambda: now_ns or time.time_ns())) as pipeline:
        return [
            pipeline.submit(read_protobuf(Signal.TRACES, traces(span(number)).SerializeToString()), "default").result(9)
            for number in numbers
        ]


def test_numbers_go_on_where_retention_removed_every_day(tmp_path: Path) -> None:
    """The ETL takes what is above its watermark for new; numbers that begin again are passed over."""
    assert store(tmp_path, 1, 2, 3, now_ns=LONG_AGO_NS) == [1, 2, 3]
    with closing(Pipeline(tmp_path)) as pipeline:
        pipeline.store.retire(list(day_files(tmp_path)))
    assert day_files(tmp_path) == {}

    assert store(tmp_path, 4) == [4]


def test_what_was_removed_does_not_come_back_out_of_the_log(tmp_path: Path) -> None:
    """The log still holds what landed in a day that is removed before the log is cleared."""
    pipeline = Pipeline(tmp_path, clock=lambda: LONG_AGO_NS)
    pipeline.submit(read_protobuf(Signal.TRACES, traces(span(1)).SerializeToString()), "default").result(9)
    with pipeline.snapshot():
        pipeline.store.land()
    pipeline.store.retire(list(day_files(tmp_path)))
    kept = {path: path.read_bytes() for path in (tmp_path / "wal").glob("*.seg")}
    pipeline.close()
    for path, content in kept.items():  # as a kill would have left them
        path.write_bytes(content)

    with closing(Pipeline(tmp_path)) as later, later.snapshot() as connection:
        assert later.num_replayed == 0
        assert connection.execute("select count(*) from spans").fetchall() == [(0,)]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"version": 1, "landed_seq": 2, "crc32": 0}'])
def test_a_damaged_file_sends_the_numbers_far_ahead(tmp_path: Path, damage: bytes) -> None:
    """Never back: nobody knows how far they were."""
    store(tmp_path, 1, 2, 3)
    sequence.sequence_path(tmp_path).write_bytes(damage)

    (number,) = store(tmp_path, 4)

    assert number == 3 + sequence.JUMP + 1
    assert store(tmp_path, 5) == [number + 1]


def test_a_directory_of_an_earlier_release_goes_on_from_its_days(tmp_path: Path) -> None:
    """It has no such file yet."""
    store(tmp_path, 1, 2, 3)
    sequence.sequence_path(tmp_path).unlink()

    assert store(tmp_path, 4) == [4]


def test_a_file_of_a_later_release_is_refused(tmp_path: Path) -> None:
    """What it means is not known here."""
    sequence.sequence_path(tmp_path).write_text('{"version": 2, "landed_seq": 3}')

    with pytest.raises(SpanloopError, match="version 2"):
        sequence.read(tmp_path)


def test_the_noted_number_never_goes_back(tmp_path: Path) -> None:
    """Whoever writes late changes nothing."""
    sequence.note(tmp_path, 7)
    sequence.note(tmp_path, 3)

    assert sequence.read(tmp_path) == 7
