"""What the warm start reads of its command line, and its receiver."""

import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from examples import demonstrations
from examples.demonstrations import parse, receiving, warm_start


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


def test_demonstrations_are_kept_where_training_on_them_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start goes on with them; others are asked for where the questions are others, and nothing is left."""
    asked: list[int] = []
    fails = [True]

    def demonstrate(*told: Any) -> None:
        asked.append(told[2].seed)
        told[-1].mkdir(parents=True)

    def spanloop(*arguments: str) -> None:
        if arguments[0] == "train":
            if fails.pop(0):
                raise subprocess.CalledProcessError(1, "train")
            made = Path(arguments[arguments.index("--out") + 1]) / "checkpoint"
            made.mkdir(parents=True)
            (made / "manifest.json").write_text("{}")

    monkeypatch.setattr(demonstrations, "_demonstrate", demonstrate)
    monkeypatch.setattr(demonstrations, "_spanloop", spanloop)

    def start(seed: int) -> Path:
        told = Namespace(datasets=Path("x"), model=Path("y"), out=tmp_path / "warm", episodes=4, seed=seed)
        return warm_start("examples.calcx.collect", lambda _messages: {}, told, [])

    with pytest.raises(subprocess.CalledProcessError):
        start(0)
    fails += [True, False]
    with pytest.raises(subprocess.CalledProcessError):
        start(0)
    assert asked == [0]

    assert start(1) == tmp_path / "warm"

    assert asked == [0, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["warm"]
    assert start(2) == tmp_path / "warm"
    assert asked == [0, 1]
