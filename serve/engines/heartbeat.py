"""Notices an engine that is there and does nothing: stopped, deadlocked, out of memory to go on.

Its calls would wait for ever, since nothing ends. It is killed, and from then on it is an engine that ended: calls get
503 with `Retry-After`, and another is started. A busy engine answers late, so two checks in a row must go unanswered;
two, because the first may have begun before the whole machine was suspended.

A server may answer for a process behind it that hangs. So an engine that says how far it has come is also asked for a
token whenever that did not change: one that neither gives it nor comes any further does nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pulse:
    """How an engine is asked whether it lives. By default one that does not is known within 28 s."""

    interval_s: float = 2.0
    timeout_s: float = 12.0
    num_missed: int = 2
    """Checks in a row that must go unanswered."""

    stall_interval_s: float = 10.0
    """How often an engine is asked how far it has come."""

    stall_timeout_s: float = 60.0
    """How long one that comes no further may take for a token: longer than any step of a model that works."""


async def wait_until_hung(answers: Callable[[float], Awaitable[bool]], pulse: Pulse) -> None:
    """Return when an engine was asked `num_missed` times in a row, each for so many seconds, and said nothing.

    `answers` asks once, with a bound in seconds, and tells whether anything came back.
    """
    num_missed = 0
    while num_missed < pulse.num_missed:
        await asyncio.sleep(pulse.interval_s)
        num_missed = 0 if await answers(pulse.timeout_s) else num_missed + 1


async def wait_until_stalled(
    progress: Callable[[], Awaitable[str | None]], generates: Callable[[float], Awaitable[bool]], pulse: Pulse
) -> None:
    """Return when an engine gave no token for so long and came no further meanwhile.

    `progress` returns something that changes with every step of the model, or null where nothing can be said;
    `generates` asks for a token, with a bound in seconds, and tells whether anything came back.
    """
    before = await progress()
    while True:
        await asyncio.sleep(pulse.stall_interval_s)
        now = await progress()
        is_idle, before = now is not None and now == before, now
        if is_idle and not await generates(pulse.stall_timeout_s) and await progress() == now:
            return
