"""Lets calls in under the policy of the moment, and holds them back while it changes.

The rule that makes every recorded version true: a call keeps, to its end, what it was let in under. Weights change in
place only while no call is in flight; calls that come meanwhile wait, and none fails. Where another engine or adapter
takes over, new calls go there at once and those in flight end where they began.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from foundation.errors import Busy
from serve.engines.engine import Engine, NotServing
from serve.evidence.spans import Policy


@dataclass(frozen=True, eq=False)
class Serving:
    """What answers a call: an engine, the name it knows the weights by, and what spans record of them."""

    engine: Engine
    model: str
    policy: Policy


class _Flight:
    """The calls that one serving is answering."""

    def __init__(self) -> None:
        self.num = 0
        self.drained = asyncio.Event()
        self.drained.set()


class Admission:
    """Counts the calls in flight; one change at a time waits until there are none."""

    def __init__(self) -> None:
        self._serving: Serving | None = None
        self._flights: dict[Serving, _Flight] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._change = asyncio.Lock()

    @property
    def serving(self) -> Serving | None:
        """What answers new calls; None while no engine is ready."""
        return self._serving

    @property
    def policy(self) -> Policy | None:
        """The policy in force; None while no engine is ready."""
        return None if self._serving is None else self._serving.policy

    @property
    def num_in_flight(self) -> int:
        """How many calls are being answered."""
        return sum(flight.num for flight in self._flights.values())

    def begin(self, serving: Serving) -> None:
        """Say what answers the calls that come from now on; those in flight end where they began."""
        self._serving = serving

    def suspend(self) -> None:
        """Turn calls away: there is no engine to answer them."""
        self._serving = None

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[Serving]:
        """Hold what is in force for one call."""
        while not self._open.is_set():
            await self._open.wait()
        serving = self._serving
        if serving is None:
            raise NotServing("the engine is starting", hint="Try again in a few seconds.")
        flight = self._flights.get(serving)
        if flight is None:
            flight = self._flights[serving] = _Flight()
        flight.num += 1
        flight.drained.clear()
        try:
            yield serving
        finally:
            flight.num -= 1
            if flight.num == 0:
                flight.drained.set()
                self._flights.pop(serving, None)

    @asynccontextmanager
    async def changing(self, *, drain_timeout_s: float) -> AsyncIterator[None]:
        """Hold back new calls, wait for those in flight, run the block, let calls in again.

        Raises `Busy`, and lets calls in again, when those in flight have not ended in time.
        """
        async with self._change:
            self._open.clear()
            try:
                await self._drain(list(self._flights.values()), drain_timeout_s)
                yield
            finally:
                self._open.set()

    @asynccontextmanager
    async def turning_away(self, *, drain_timeout_s: float) -> AsyncIterator[None]:
        """Turn new calls away, wait for those in flight, run the block. Where either fails, calls are let in again."""
        async with self._change:
            serving, self._serving = self._serving, None
            try:
                await self._drain(list(self._flights.values()), drain_timeout_s)
                yield
            except BaseException:
                self._serving = serving
                raise

    async def drained(self, serving: Serving) -> None:
        """Wait until nothing answers calls with what no longer takes new ones."""
        assert serving is not self._serving, "it would never end"
        if (flight := self._flights.get(serving)) is not None:
            await flight.drained.wait()

    async def _drain(self, flights: Sequence[_Flight], timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                for flight in flights:
                    await flight.drained.wait()
        except TimeoutError:
            raise Busy(
                f"{sum(flight.num for flight in flights)} calls were still being answered after {timeout_s:.0f} s",
                hint="Try again, or give them longer: spanloop serve run --drain-timeout-s",
            ) from None
