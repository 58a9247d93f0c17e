"""An engine as a process of its own: a few lines of aiohttp on the socket, and what the gateway makes of its end."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from serve.engines.engine import Engine, EngineFailed
from serve.engines.heartbeat import Pulse, wait_until_hung, wait_until_stalled
from serve.engines.unix_socket import PatientUnixConnector

PROGRAM = """
import asyncio, sys
from aiohttp import web

async def answer(_):
    return web.json_response({"choices": [{"text": ""}]})

async def hang(_):
    await asyncio.sleep(3600)

stuck = []

async def complete(request):
    if stuck:
        await asyncio.sleep(3600)
    return await answer(request)

async def stick(request):
    stuck.append(1)
    return await answer(request)

async def steps(_):
    return web.Response(text=str(len(stuck)))

app = web.Application()
app.add_routes([web.get("/health", answer), web.post("/v1/completions", complete), web.post("/hang", hang)])
app.add_routes([web.post("/stick", stick), web.get("/steps", steps)])
web.run_app(app, path=sys.argv[1], print=None)
"""


class ScriptEngine(Engine):
    """The few lines above."""

    kind = "embedded"
    provider = "script"

    def command(self) -> list[str]:
        return [sys.executable, "-c", PROGRAM, str(self.socket)]

    async def load(self, _: Path) -> str:
        raise AssertionError

    async def progress(self) -> str | None:
        return await self.read("/steps")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid


def run(tmp_path: Path, scenario: Callable[[ScriptEngine], Awaitable[None]]) -> None:
    async def main() -> None:
        engine = ScriptEngine(tmp_path, "base", tmp_path / "engine.log")
        engine.pulse = Pulse(interval_s=0.05, timeout_s=0.3, stall_interval_s=0.05, stall_timeout_s=0.3)
        await engine.start(60)
        try:
            await scenario(engine)
        finally:
            await engine.stop()

    asyncio.run(main())


def test_an_engine_that_hangs_is_killed_and_its_calls_end(tmp_path: Path) -> None:
    """Stopped as a debugger would: whoever waits for an answer is told, and `ended` returns as for a crash."""

    async def scenario(engine: ScriptEngine) -> None:
        waiting = asyncio.create_task(engine.post("/hang"))
        await asyncio.sleep(0)
        os.kill(engine.pid, signal.SIGSTOP)
        with pytest.raises(EngineFailed):
            await asyncio.wait_for(waiting, 20)
        await asyncio.wait_for(engine.ended(), 20)
        assert engine.is_hung
        assert not engine.is_running()

    run(tmp_path, scenario)


def test_an_engine_whose_health_could_not_be_told_once_is_still_watched(tmp_path: Path) -> None:
    """It answered something nobody thought of; when it hangs later, it is noticed."""

    class Odd(ScriptEngine):
        num_asked = 0

        async def progress(self) -> str | None:
            self.num_asked += 1
            raise ZeroDivisionError

    async def scenario() -> None:
        engine = Odd(tmp_path, "base", tmp_path / "engine.log")
        engine.pulse = Pulse(interval_s=0.05, timeout_s=0.3, stall_interval_s=0.01)
        await engine.start(60)
        try:
            while engine.num_asked < 2:
                await asyncio.sleep(0.01)
            assert engine.is_running()
            os.kill(engine.pid, signal.SIGSTOP)
            await asyncio.wait_for(_hung(engine), 20)
        finally:
            await engine.stop()

    asyncio.run(scenario())


async def _hung(engine: Engine) -> None:
    while not engine.is_hung:
        await asyncio.sleep(0.01)


def test_a_server_that_answers_for_a_model_that_hangs_is_killed(tmp_path: Path) -> None:
    """Its health is good, its calls wait for ever, and nothing moves. While weights change, nothing has to."""

    async def scenario(engine: ScriptEngine) -> None:
        with engine.changing():
            await engine.post("/stick")
            waiting = asyncio.create_task(engine.post("/v1/completions"))
            await asyncio.sleep(4 * engine.pulse.stall_timeout_s)
            assert engine.is_running()
        with pytest.raises(EngineFailed):
            await asyncio.wait_for(waiting, 20)
        await asyncio.wait_for(engine.ended(), 20)
        assert engine.is_hung

    run(tmp_path, scenario)


def test_what_comes_further_is_busy_and_what_says_nothing_is_believed() -> None:
    """However late a token is: steps that go on, or an engine that counts none, are no sign of a hang."""

    async def scenario(progress: list[str | None], answers: list[bool]) -> int:
        steps, gives = iter(progress), iter(answers)
        asked = 0

        async def come() -> str | None:
            found = next(steps, "over")
            if found == "over":
                raise EOFError
            return found

        async def generate(_: float) -> bool:
            nonlocal asked
            asked += 1
            return next(gives)

        await wait_until_stalled(come, generate, Pulse(stall_interval_s=0))
        return asked

    with pytest.raises(EOFError):  # it never returns: the script ends first
        asyncio.run(scenario(["1", "2", "3", None, None, "4", "5"], []))
    with pytest.raises(EOFError):
        asyncio.run(scenario(["1", "1", "2", "2", "3"], [False, False]))
    assert asyncio.run(scenario(["1", "1", "2", "2", "2"], [True, False])) == 2


@pytest.mark.long
def test_an_engine_that_is_busy_is_left_alone(tmp_path: Path) -> None:
    """Long calls are none of the heartbeat's business as long as somebody answers."""

    async def scenario(engine: ScriptEngine) -> None:
        waiting = [asyncio.create_task(engine.post("/hang")) for _ in range(20)]
        await asyncio.sleep(10 * engine.pulse.interval_s)
        assert engine.is_running()
        for each in waiting:
            each.cancel()

    run(tmp_path, scenario)


def test_a_late_answer_is_one() -> None:
    """Only checks that go unanswered in a row count."""

    async def scenario() -> int:
        answers = iter([False, True, False, True, False, False])
        asked = 0

        async def ask(_: float) -> bool:
            nonlocal asked
            asked += 1
            return next(answers)

        await wait_until_hung(ask, Pulse(interval_s=0))
        return asked

    assert asyncio.run(scenario()) == 6


def test_the_default_pulse_finds_a_hung_engine_within_half_a_minute() -> None:
    """The bound that docs/serving.md names."""
    pulse = Pulse()

    assert pulse.num_missed * (pulse.interval_s + pulse.timeout_s) <= 30


def test_a_burst_larger_than_the_backlog_waits_for_its_turn(tmp_path: Path) -> None:
    """On the gateway's own event loop, which reports a full backlog at once; then somebody begins to take calls."""
    uvloop = pytest.importorskip("uvloop")
    path = str(tmp_path / "s")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def scenario() -> list[int]:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            async with aiohttp.ClientSession(
                connector=PatientUnixConnector(path, limit=0), timeout=aiohttp.ClientTimeout(sock_connect=20)
            ) as session:

                async def ask() -> int:
                    async with session.get("http://engine/") as response:
                        return response.status

                asking = [asyncio.create_task(ask()) for _ in range(50)]
                await asyncio.sleep(0.1)
                assert not any(each.done() for each in asking)
                server = await asyncio.start_unix_server(answer, sock=listener.dup(), backlog=1)
                async with server:
                    return await asyncio.gather(*asking)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(scenario()) == [200] * 50
