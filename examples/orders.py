"""The command line of an agent's script: which questions it attempts, once or order after order in one process."""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from examples.attempts import Play, Task, Telemetry, attempt_all, summarize

OF_AN_ORDER = frozenset(
    {
        *("split", "episodes", "offset", "attempts", "seed", "concurrency"),
        *("timeout_s", "measure", "coin", "output", "orders"),
    }
)
"""Options that change nothing of what an agent needs."""

SOUND_WITHIN_S = 10.0
"""Within which a tool server has to answer that it is there."""


def choose(tasks: Sequence[Any], number: int | None, *, seed: int, offset: int = 0, once: bool = False) -> list[Any]:
    """Return so many tasks, from an offset on, in an order that the seed decides.

    Where they end they begin again, or with `once` that is all.
    """
    order = list(tasks)
    random.Random(seed).shuffle(order)
    if once and number is not None:
        number = min(number, len(order))
    return order if number is None else [order[(offset + index) % len(order)] for index in range(number)]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return the parser of what every task is told on its command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--datasets", type=Path, required=True, help="directory of the data sets: docs/tasks.md")
    parser.add_argument("--split", default="train", help="split of the questions")
    parser.add_argument("--episodes", type=int, help="questions, default: all of the split")
    parser.add_argument("--offset", type=int, default=0, help="first of them, in the order the seed decides")
    parser.add_argument("--attempts", type=int, default=1, help="attempts at each")
    parser.add_argument("--seed", type=int, default=0, help="decides the order of the questions")
    parser.add_argument("--concurrency", type=int, default=16, help="attempts under way at once")
    parser.add_argument("--timeout-s", type=float, default=300, help="after which an attempt has failed")
    parser.add_argument("--model", default="live", help="name the endpoint knows the model by")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--measure", action="store_true", help="grade, and leave no reward in the traces")
    parser.add_argument("--coin", type=float, help="reward 1 with this probability, whatever came: a control")
    parser.add_argument("--output", type=Path, help="file for one JSON line an attempt")
    parser.add_argument(
        "--orders", action="store_true", help="read further runs from stdin: one JSON object of options each"
    )
    return parser


async def _always() -> bool:
    return True


@dataclass(frozen=True)
class Playing:
    """How an agent plays while what it needs is open."""

    play: Play
    is_sound: Callable[[], Awaitable[bool]] = _always
    """Whether that still works, such as its tool server: asked before it is used again."""


class Agent(Protocol):
    """What a task's script hands over: its tasks, and how they are played with the options at hand."""

    def tasks(self, options: argparse.Namespace) -> Sequence[Task]:
        """Return the tasks of a split."""

    def playing(self, options: argparse.Namespace) -> AbstractAsyncContextManager[Playing]:
        """Open what an agent needs, and return how it plays."""


class Stage:
    """What an agent needs, kept open from order to order while the options that concern it stay the same.

    It is opened and closed by a task of its own: that is how MCP's clients want it, and when a server dies they cancel
    the task that opened it.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._task: asyncio.Task[None] | None = None
        self._end = asyncio.Event()
        self._playing: Playing | None = None
        self._options: dict[str, Any] = {}

    async def play(self, options: argparse.Namespace) -> Play:
        """Return how the agent plays with these options, opening anew what is not open or no longer sound."""
        wanted = {name: value for name, value in vars(options).items() if name not in OF_AN_ORDER}
        if wanted != self._options or not await self._is_sound():
            await self.close()
        if self._playing is None:
            self._end.clear()
            opened: asyncio.Future[Playing] = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._hold(options, opened))
            self._playing, self._options = await opened, wanted
        return self._playing.play

    async def close(self) -> None:
        """Close what is open."""
        self._end.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        self._task = self._playing = None

    async def _is_sound(self) -> bool:
        if self._task is None or self._task.done() or self._playing is None:
            return False
        try:
            return await asyncio.wait_for(self._playing.is_sound(), SOUND_WITHIN_S)
        except Exception:  # noqa: BLE001 - whatever a dead server makes its client raise
            return False

    async def _hold(self, options: argparse.Namespace, opened: "asyncio.Future[Playing]") -> None:
        try:
            async with self._agent.playing(options) as playing:
                opened.set_result(playing)
                await self._end.wait()
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - told to whoever waits
            if opened.done():
                sys.stderr.write(f"what the agent needed did not close: {failure!r}\n")  # its tool server died
            elif isinstance(failure, asyncio.CancelledError):
                opened.set_exception(RuntimeError("what the agent needs ended while it was opened"))
            else:
                opened.set_exception(failure)


async def run(
    agent: Agent,
    options: argparse.Namespace,
    telemetry: Telemetry,
    stage: Stage | None = None,
) -> dict[str, Any]:
    """Attempt what the options say; return the summary, after the last span was sent."""
    tasks = choose(
        agent.tasks(options),
        options.episodes,
        seed=options.seed,
        offset=options.offset,
        once=options.temperature == 0,  # a greedy answer would be the same again
    )
    began = time.monotonic()
    own = stage or Stage(agent)
    try:
        results = await attempt_all(
            await own.play(options),
            tasks,
            telemetry,
            attempts=options.attempts,
            concurrency=options.concurrency,
            timeout_s=options.timeout_s,
            coin=options.coin,
            tell=not options.measure,
        )
    finally:
        if stage is None:
            await own.close()
    await asyncio.to_thread(telemetry.flush)
    if options.output:
        options.output.write_text("".join(json.dumps(asdict(result)) + "\n" for result in results))
    return summarize(results, telemetry, duration_s=time.monotonic() - began)


UNGRADED_SHARE = 0.02
"""Of the attempts, as many may fail at the endpoint: they have no reward, and nothing is learned from them. Where it is
more, those that are left may be no fair sample."""


def find_faults(summary: Mapping[str, Any]) -> list[str]:
    """Return what makes a run unfit to learn from, in sentences; nothing when it is sound."""
    faults = []
    if summary["spans"] != summary["spans_exported"]:
        faults.append(f"{summary['spans_exported']} of {summary['spans']} spans were delivered")
    if summary["ungraded"] > UNGRADED_SHARE * summary["episodes"]:
        faults.append(f"{summary['ungraded']} attempts failed at the endpoint: {summary['errors']}")
    return faults


def main(agent: Agent, parser: argparse.ArgumentParser, telemetry: Telemetry) -> int:
    """Run what the command line says, then what stdin orders; print a summary each and return the exit status."""
    try:
        return asyncio.run(_obey(agent, parser.parse_args(), telemetry))
    except FileNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    finally:
        telemetry.provider.shutdown()


async def _obey(agent: Agent, options: argparse.Namespace, telemetry: Telemetry) -> int:
    status = 0
    stage, orders = Stage(agent), _orders(options)
    try:
        while (order := await asyncio.to_thread(next, orders, None)) is not None:
            summary = await run(agent, order, telemetry, stage)
            print(json.dumps(summary), flush=True)
            for fault in find_faults(summary):
                sys.stderr.write(f"{fault}\n")
                status = 1
    finally:
        await stage.close()
    return status


def _orders(options: argparse.Namespace) -> Iterator[argparse.Namespace]:
    if not options.orders:
        yield options
        return
    for line in sys.stdin:
        given = json.loads(line)
        given |= {key: Path(given[key]) for key in ("output", "datasets") if given.get(key)}
        yield argparse.Namespace(**vars(options) | given)
