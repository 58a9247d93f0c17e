"""Commands beside a receiver that does not answer, and a backup that is interrupted."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from foundation.errors import Busy
from receiver.reading import find
from receiver.schema import connect
from receiver.store.lock import hold
from tests.commands import spanloop
from tests.export_requests import span, traces
from tests.integration.receiver.processes import COMMAND, running

pytestmark = pytest.mark.integration


@pytest.mark.long
def test_no_command_waits_for_a_stopped_receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds its lock and its sockets, and says nothing for ever: each command says so and ends with 75."""
    monkeypatch.setattr("foundation.web.http.LOOK_EVERY_S", 0.5)
    data = tmp_path / "data"
    with running(data) as receiver:
        reader = connect(data)
        receiver.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(Busy, match="stopped answering"):
                reader.query("select 1")
            for arguments in (
                ("receiver", "status"),
                ("receiver", "backup", "--out", str(tmp_path / "out")),
                ("sql", "select 1"),
                ("reward", "ab" * 16, "1"),
                ("etl", "run"),
                ("etl", "suggest"),
                ("etl", "inspect", "ab" * 16),
                ("forget", "--user", "alice", "--dry-run"),
            ):
                began = time.monotonic()
                result = spanloop(*arguments, "--data", str(data))
                says_so = "stopped answering" in result.stderr or "timed out" in result.stderr
                assert (result.returncode, says_so) == (75, True), result.stderr
                assert time.monotonic() - began < 40
        finally:
            receiver.process.send_signal(signal.SIGCONT)
    assert not (tmp_path / "out").exists()


def test_a_process_that_holds_data_without_answering_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale announcement beside it fools nobody, whatever process has the number in it now."""
    monkeypatch.setattr(find, "PATIENCE_S", 0.1)
    (tmp_path / "receiver.json").write_text(f'{{"pid": {os.getpid() + 1}, "http": "http://x", "token": "t"}}')
    with hold(tmp_path, "spanloop receiver import"), pytest.raises(Busy, match="spanloop receiver import"):
        find.find_receiver(tmp_path)


@pytest.mark.long
def test_an_interrupted_backup_leaves_nothing(tmp_path: Path) -> None:
    """Neither where it was to be, nor beside the day files."""
    data = tmp_path / "data"
    with running(data) as receiver:
        receiver.export(traces(span(1)).SerializeToString())
        command = [*COMMAND, "receiver", "backup", "--data", str(data), "--out", str(tmp_path / "out")]
        for number in (signal.SIGTERM, signal.SIGKILL):
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                if (tmp_path / ".out.partial").exists() or list((data / "spans").glob("backup-*")):
                    process.send_signal(number)
                    break
                time.sleep(0.001)
            process.wait(20)
            while list((data / "spans").glob("backup-*")) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert list((data / "spans").glob("backup-*")) == []
            if number == signal.SIGTERM and process.returncode != 0:
                assert not (tmp_path / ".out.partial").exists()
                assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["verify", "backup", "prune"])
def test_a_directory_that_is_not_there_is_said_so_and_not_made(tmp_path: Path, command: str) -> None:
    """A typo must not read as sound, or backed up."""
    extra = ("--out", str(tmp_path / "out")) if command == "backup" else ()
    result = spanloop("receiver", command, "--data", str(tmp_path / "typo"), *extra)

    assert (result.returncode, f"no directory {tmp_path / 'typo'}" in result.stderr) == (2, True), result.stderr
    assert list(tmp_path.iterdir()) == []
