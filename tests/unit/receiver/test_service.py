"""From the bound ports to an orderly end, in this process."""

import asyncio
import errno
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from foundation.errors import Busy, SpanloopError
from receiver import service
from receiver.intake.entry import Intake
from receiver.pipeline import Pipeline
from receiver.settings import ReceiverConfig
from receiver.store.lock import announcement_path


@pytest.fixture
def taken() -> Iterator[str]:
    """Listen on an address, and return it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"


def serve(config: ReceiverConfig, stop: asyncio.Event) -> None:
    with closing(Pipeline(config.data)) as pipeline:
        asyncio.run(service._serve(config, Intake(pipeline, None), pipeline, stop, 0.0, None, []))


def test_where_it_listens_is_announced_to_this_user_alone_and_gone_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ports that were taken, not those that were asked for; the token in it lifts the bounds of SQL."""
    seen: list[tuple[dict[str, object], int]] = []
    write = service.write_json

    def written(path: Path, where: dict[str, object]) -> None:
        write(path, where)
        seen.append((json.loads(path.read_bytes()), path.stat().st_mode & 0o777))

    monkeypatch.setattr(service, "write_json", written)
    stop = asyncio.Event()
    stop.set()

    serve(ReceiverConfig(data=tmp_path, grpc="127.0.0.1:0", http="127.0.0.1:0"), stop)

    ((where, mode),) = seen
    assert mode == 0o600
    assert not {str(where[name]).rpartition(":")[2] for name in ("http", "grpc")} & {"0", "None"}
    assert not announcement_path(tmp_path).exists()


@pytest.mark.parametrize("flag", ["http", "grpc"])
def test_a_port_that_is_taken_is_named_and_nothing_announced(tmp_path: Path, taken: str, flag: str) -> None:
    """Whichever it is; the other is let go of again."""
    addresses = {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0", flag: taken}

    with pytest.raises(Busy, match=taken) as refusal:
        serve(ReceiverConfig(data=tmp_path, **addresses), asyncio.Event())

    assert f"--{flag}" in str(refusal.value) + str(refusal.value.hint)
    assert not announcement_path(tmp_path).exists()


def test_a_disk_that_refuses_is_told_with_its_directory(tmp_path: Path) -> None:
    """One line and a way out, whether or not the system has words for it."""

    def fail(error: OSError) -> None:
        with service._writing(tmp_path):
            raise error

    with pytest.raises(SpanloopError, match=f"{tmp_path} cannot be used: No space left on device"):
        fail(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(SpanloopError, match="cannot be used: OSError"):
        fail(OSError())


def test_a_long_start_is_alive_and_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the log takes to be read: who asks whether it lives is answered meanwhile, and then it is ready."""
    reads, goes_on = threading.Event(), threading.Event()

    class Long(Pipeline):
        def __init__(self, *given: Any, **more: Any) -> None:
            reads.set()
            assert goes_on.wait(60)
            super().__init__(*given, **more)

    monkeypatch.setattr(service, "Pipeline", Long)
    monkeypatch.setattr(service, "prepare_process", lambda: None)  # this process goes on to other tests
    address = free_address()

    async def ask(session: aiohttp.ClientSession, path: str) -> int:
        try:
            async with session.get(f"http://{address}{path}") as response:
                return response.status
        except aiohttp.ClientError:  # at the moment at which another listens
            return 0

    async def scenario() -> list[int]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            await asyncio.to_thread(reads.wait)
            found = [await ask(session, "/healthz"), await ask(session, "/readyz")]
            goes_on.set()
            while await ask(session, "/readyz") != 200:
                await asyncio.sleep(0.01)
            found.append(await ask(session, "/healthz"))
        os.kill(os.getpid(), signal.SIGTERM)
        return found

    async def both() -> list[int]:
        serving = asyncio.ensure_future(service.serve(ReceiverConfig(data=tmp_path, grpc="127.0.0.1:0", http=address)))
        found = await scenario()
        await serving
        return found

    assert asyncio.run(both()) == [200, 503, 200]
