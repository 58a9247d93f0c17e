import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.process import notify_supervisor


def test_a_server_takes_all_the_files_it_may_have() -> None:
    """In a process of its own, since a limit once raised stays so."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    program = (
        "import resource; from foundation.process import allow_many_files;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard})); print(allow_many_files())"
    )

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert int(said) == hard


def test_the_supervisor_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a datagram to the socket it names; without one, or with one that is gone, nothing happens."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notify_supervisor("READY=1")
        assert supervisor.recv(100) == b"READY=1"

    path.unlink()
    notify_supervisor("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify_supervisor("READY=1")
