"""Lets calls in under the policy of the moment, and holds them back while it changes.

The rule that makes every recorded version true: a policy changes only while no call is in flight. Calls that come
during a change wait for its end, which takes fractions of a second; none fails.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from foundation.errors import Busy, SpanloopError
from serve.evidence import Policy


class NotServing(SpanloopError):
    """No engine is ready to answer; one is being started."""


class Admission:
    """Counts the calls in flight; one change at a time waits until there are none."""

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._num_in_flight = 0
        self._drained = asyncio.Event()
        self._drained.set()
        self._open = asyncio.Event()
        self._open.set()
        self._change = asyncio.Lock()

    @property
    def policy(self) -> Policy | None:
        """The policy in force; None while no engine is ready."""
        return self._policy

    @property
    def num_in_flight(self) -> int:
        """How many calls are being answered."""
        return self._num_in_flight

    def begin(self, policy: Policy) -> None:
        """Say that an engine is ready and what it serves."""
        self._policy = policy

    def suspend(self) -> None:
        """Turn calls away: there is no engine to answer them."""
        self._policy = None

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[Policy]:
        """Hold the policy in force for one call."""
        while not self._open.is_set():
            await self._open.wait()
        if self._policy is None:
            raise NotServing("the engine is starting", hint="Try again in a few seconds.")
        self._num_in_flight += 1
        self._drained.clear()
        try:
            yield self._policy
        finally:
            self._num_in_flight -= 1
            if self._num_in_flight == 0:
                self._drained.set()

    @asynccontextmanager
    async def changing(self, *, drain_timeout_s: float) -> AsyncIterator[None]:
        """Hold back new calls, wait for those in flight, run the block, let calls in again.

        Raises `Busy`, and lets calls in again, when those in flight have not ended in time.
        """
        async with self._change:
            self._open.clear()
            try:
                await self._drain(drain_timeout_s)
                yield
            finally:
                self._open.set()

    async def _drain(self, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(self._drained.wait(), timeout_s)
        except TimeoutError:
            raise Busy(
                f"{self._num_in_flight} calls were still being answered after {timeout_s:.0f} s",
                hint="Try again, or give them longer: spanloop serve run --drain-timeout-s",
            ) from None
