"""What holds for every test: nothing leaves this machine, one thread a process, and what takes longest begins first."""

import atexit
import gc
import ipaddress
import os
import socket
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from tests.scale import times

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported; workers and servers share the cores

settings.register_profile("spanloop", deadline=None, max_examples=times(short=25, long=1000))
settings.register_profile("long", settings.get_profile("spanloop"), max_examples=times(short=100, long=1000))
settings.load_profile("spanloop")  # `make test-long` loads the other: properties of every file, with more examples

LONGEST_FIRST = ("e2e", "vllm", "integration")
"""Markers in the order in which their tests begin: a worker that ends with a long file leaves the others waiting."""


STARTS_VLLM = ("vllm", "test_replicas", "test_demo")
"""In the names of files whose tests start vLLM: its engine alone fills a small machine."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put whole files in the order of `LONGEST_FIRST`; within a file nothing moves."""

    def rank(item: pytest.Item) -> int:
        found = [place for place, name in enumerate(LONGEST_FIRST) if item.get_closest_marker(name)]
        return min(found, default=len(LONGEST_FIRST))

    by_file: dict[str, int] = {}
    for item in items:
        by_file[str(item.path)] = min(rank(item), by_file.get(str(item.path), len(LONGEST_FIRST)))
    items.sort(key=lambda item: by_file[str(item.path)])


class WholeFiles(LoadFileScheduling):
    """Workers take whole files, so that servers and models are started once; one takes all that starts vLLM."""

    def _split_scope(self, nodeid: str) -> str:
        path: str = super()._split_scope(nodeid)
        return "vllm" if any(name in path.rpartition("/")[2] for name in STARTS_VLLM) else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WholeFiles | None:
    """Deal files as `WholeFiles` does, where `--dist loadfile` is asked for."""
    return WholeFiles(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage: what is imported stays, and no test's search for cycles walks it again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """Let the summary be the last that is said: DuckDB's binding names what it leaks when the interpreter ends."""
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))


class ReachedTheNetwork(AssertionError):
    """A test tried to talk to another machine."""


def is_local(address: Any) -> bool:
    """Say whether a socket's address is on this machine: a Unix socket, a loopback address or a name for one."""
    if not isinstance(address, tuple):
        return True
    host = address[0]
    if host in ("", "localhost", "localhost.localdomain"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback or host in ("0.0.0.0", "::")
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects to anything but this machine. Children are trusted: they are our own commands."""

    def guard(name: str) -> None:
        inner = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any) -> Any:
            if self.family != socket.AF_UNIX and not is_local(address):
                raise ReachedTheNetwork(f"a test connects to {address!r}")
            return inner(self, address)

        monkeypatch.setattr(socket.socket, name, connect)

    guard("connect")
    guard("connect_ex")
