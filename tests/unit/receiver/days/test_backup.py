"""Backups: whole, landed, beside landing, and stopped."""

from pathlib import Path

from receiver.days.backup import take_copies
from receiver.days.files import day_files
from receiver.days.verification import verify
from receiver.schema import connect, spans_directory
from receiver.store.copying import Copying
from tests.export_requests import span
from tests.unit.receiver.days.three_days import FIRST, three_days
from tests.unit.receiver.store.test_landing import DAY, DAY_NS


def test_a_backup_is_a_directory_to_run_on(tmp_path: Path) -> None:
    """Everything landed is in it, it verifies, and it is never mixed into what is there."""
    landing = three_days(tmp_path / "data")
    (tmp_path / "data" / "keys.json").write_text('{"keys": []}')
    staging = spans_directory(tmp_path / "data") / "backup-x"
    Copying(landing.store, staging, lambda _: True).run()
    (tmp_path / "out").mkdir()
    take_copies(staging, tmp_path / "out")

    assert len(day_files(tmp_path / "out")) == 3
    reader = connect(tmp_path / "out")
    assert reader.query("select (select count(*) from spans), (select count(*) from log_records)").to_pylist() == [
        {"(SELECT count_star() FROM spans)": 3, "(SELECT count_star() FROM log_records)": 1}
    ]
    reader.close()
    assert (tmp_path / "out" / "keys.json").exists()
    assert list(verify(tmp_path / "out")) == []


def test_spans_land_while_a_backup_is_made(tmp_path: Path) -> None:
    """Neither waits for the other, and stopping a backup ends it."""
    landing = three_days(tmp_path)
    with landing.store.days.pinned() as (connection, days):
        connection.execute("begin")
        connection.execute(f"select count(*) from {days[FIRST]}.spans").fetchall()
        landing.arrive(span(4), received_ns=DAY + 2 * DAY_NS)
        landing.store.land()
        assert landing.store.num_hot_rows == 0
    copying = Copying(landing.store, tmp_path / "spans" / "backup-x", lambda _: True)
    copying.stop()
    copying.run()
    assert not (tmp_path / "spans" / "backup-x").exists()
