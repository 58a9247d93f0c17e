"""What is removed of the day files, and what beside it stays."""

import shutil
from pathlib import Path

import duckdb
import pytest

from receiver.days.files import day_path
from receiver.days.forgetting import forget
from receiver.decode.otlp import Signal
from tests.export_requests import TRACE_ID, attribute, logs, span
from tests.unit.receiver.days.three_days import FIRST
from tests.unit.receiver.store.test_landing import DAY, Landing

OTHER_ID = bytes.fromhex("fedcba9876543210fedcba9876543210")
SECRET = "secret" * 5
TRACE = ("default", TRACE_ID.hex())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two traces, and records outside any trace that name a session, or none."""
    data = tmp_path_factory.mktemp("made")
    landing = Landing(data)
    landing.arrive(span(1, name=SECRET), span(2, name="kept", trace_id=OTHER_ID))
    for name in ("", "s1", "it's"):
        request = logs("good")
        request.resource_logs[0].scope_logs[0].log_records[0].attributes.append(attribute("session.id", name))
        landing.publish(Signal.LOGS, request, DAY, "default")
    landing.store.land()
    landing.store.close()
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "data")


def left(data: Path) -> tuple[list[str], int]:
    with duckdb.connect(day_path(data, FIRST), read_only=True) as day:
        names = [name for (name,) in day.execute("select name from spans order by name").fetchall()]
        return names, day.execute("select count(*) from log_records").fetchall()[0][0]


def test_a_trace_leaves_no_byte_and_its_neighbour_stays(data: Path) -> None:
    """The file is written anew: deleting would leave the bytes in it."""
    assert forget(data, {TRACE}, [])["spans"] == 1

    assert left(data) == (["kept"], 3)
    assert SECRET.encode() not in day_path(data, FIRST).read_bytes()


def test_a_dry_run_and_a_day_without_any_touch_no_file(data: Path) -> None:
    """They count; another project's trace of the same id is another trace."""
    before = day_path(data, FIRST).stat().st_ino

    counts = forget(data, {TRACE}, ["s1"], dry_run=True)
    assert forget(data, {("another", TRACE[1])}, ["s2"]).total() == 0

    assert (counts["spans"], counts["log_records"]) == (1, 1)
    assert day_path(data, FIRST).stat().st_ino == before
    assert left(data) == (["kept", SECRET], 3)


def test_what_names_nothing_is_not_what_is_named(data: Path) -> None:
    """A record with an empty session would else go with whatever is forgotten."""
    for names, num_left in (([""], 3), (["", "it's"], 2)):
        forget(data, {TRACE}, names)
        assert left(data)[1] == num_left


def test_requests_set_aside_go_where_they_mention_any(tmp_path: Path) -> None:
    """By a trace id in bytes or digits, or by a name; an empty one is mentioned nowhere."""
    aside = tmp_path / "wal" / "quarantine"
    aside.mkdir(parents=True)
    for name, content in {
        "bytes": TRACE_ID,
        "digits": TRACE[1].encode(),
        "named": b"..s1..",
        "kept": b"..s2..",
    }.items():
        (aside / name).write_bytes(content)

    assert forget(tmp_path, {TRACE}, ["s1", ""])["files_set_aside"] == 3

    assert [path.name for path in aside.iterdir()] == ["kept"]
