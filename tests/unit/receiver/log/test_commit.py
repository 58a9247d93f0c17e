"""Group commit: whoever waits is answered, whatever becomes of the log and of its thread."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from receiver.log.commit import GroupCommit
from receiver.log.disk import OsDisk
from receiver.log.records import Entry, Record
from receiver.log.wal import WriteAheadLog


def entry(body: bytes = b"spans", project: str = "default") -> Entry:
    return Entry(1, project, body, received_ns=1)


class BrokenLog(WriteAheadLog):
    """Fails once in a way nobody thought of."""

    def write(self, entries: Sequence[Entry]) -> list[Record]:
        if any(entry.body == b"poison" for entry in entries):
            raise ZeroDivisionError("simulated")
        return super().write(entries)


def open_log(directory: Path) -> WriteAheadLog:
    wal = BrokenLog(directory, OsDisk(), segment_bytes=8192)
    wal.open(0)
    return wal


def test_entries_are_numbered_and_told_of_before_they_are_acknowledged(tmp_path: Path) -> None:
    """What is acknowledged has been handed on."""
    durable: list[int] = []
    commit = GroupCommit(open_log(tmp_path), lambda records: durable.extend(record.seq for record in records))

    futures = [commit.append(entry()) for _ in range(20)]

    assert [future.result(10) for future in futures] == list(range(1, 21))
    assert durable == list(range(1, 21))
    commit.close()
    with pytest.raises(RuntimeError, match="closed"):
        commit.append(entry())


def test_an_error_nobody_thought_of_costs_its_group_alone(tmp_path: Path) -> None:
    """The thread lives on, and the sender is told to come again."""
    commit = GroupCommit(open_log(tmp_path), lambda _: None)

    with pytest.raises(OSError, match="ZeroDivisionError"):
        commit.append(entry(b"poison")).result(10)
    assert commit.append(entry()).result(10) == 1
    commit.close()


def test_a_thread_that_dies_leaves_nobody_waiting(tmp_path: Path) -> None:
    """Those under way are answered, later ones refused, and its death is known."""
    died = threading.Event()

    def spawn(target: Callable[[], None], *, name: str) -> threading.Thread:
        def run() -> None:
            try:
                target()
            except ZeroDivisionError:
                died.set()

        return threading.Thread(target=run, name=name)

    def on_durable(_: list[Record]) -> None:
        raise ZeroDivisionError("simulated")

    commit = GroupCommit(open_log(tmp_path), on_durable, spawn=spawn)

    with pytest.raises(OSError, match="ZeroDivisionError"):
        commit.append(entry()).result(10)
    assert died.wait(10)
    with pytest.raises(RuntimeError, match="closed"):
        commit.append(entry())
    commit.close()


def test_a_project_too_long_for_the_log_is_refused_before_it_gets_there() -> None:
    """Its length has two bytes in a record."""
    with pytest.raises(ValueError, match="66000 characters"):
        entry(project="x" * 66_000)
