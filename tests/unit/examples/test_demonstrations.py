"""What the warm start reads of its command line, and its receiver."""

import sys
from collections.abc import Iterator
from pathlib import Path
from socket import socket

import pytest

from examples import demonstrations
from examples.demonstrations import parse, receiving


def test_the_agents_flags_are_never_taken_for_beginnings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--dataset`, of one of the agents, is no `--datasets`."""
    ours = ["--datasets", "/data", "--model", "/model", "--out", "/out"]
    theirs = ["--dataset", "svamp", "--max-tokens", "48", "--see", "1"]
    monkeypatch.setattr(sys, "argv", ["warm_start", *ours, *theirs])

    options, flags = parse("", episodes=4)

    assert options.datasets == Path("/data")
    assert flags == theirs


@pytest.fixture
def taken() -> Iterator[int]:
    """Return a port somebody listens on."""
    with socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


@pytest.mark.long
def test_a_port_that_was_taken_meanwhile_is_left_for_another(
    taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking for a free port and listening on it anybody may come."""
    free = demonstrations._free_port
    ports = iter([taken])
    monkeypatch.setattr(demonstrations, "_free_port", lambda: next(ports, None) or free())

    with receiving(tmp_path / "data") as endpoint:
        assert endpoint != f"http://127.0.0.1:{taken}"
