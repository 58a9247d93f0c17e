import asyncio

import pytest

from foundation.errors import Busy
from serve.admission import Admission, NotServing
from serve.evidence import Policy

OLD, NEW = Policy("old", None, None), Policy("new", None, None)


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_change_waits_for_calls_in_flight_and_calls_wait_for_the_change() -> None:
    """No call ever sees two policies; none is turned away."""

    async def scenario() -> list[str]:
        admission = Admission()
        admission.begin(OLD)
        seen: list[str] = []
        finish = asyncio.Event()

        async def call() -> None:
            async with admission.admitted() as policy:
                await finish.wait()
                seen.append(policy.version)

        async def change() -> None:
            async with admission.changing(drain_timeout_s=10):
                seen.append("change")
                admission.begin(NEW)

        early = asyncio.create_task(call())
        await settle()
        changing = asyncio.create_task(change())
        await settle()
        late = asyncio.create_task(call())
        await settle()
        assert seen == []
        finish.set()
        await asyncio.gather(early, changing, late)
        return seen

    assert asyncio.run(scenario()) == ["old", "change", "new"]


def test_a_change_that_cannot_begin_lets_calls_in_again() -> None:
    """An answer without end makes the promotion fail, not the service."""

    async def scenario() -> None:
        admission = Admission()
        admission.begin(OLD)
        async with admission.admitted():
            with pytest.raises(Busy, match="1 calls"):
                async with admission.changing(drain_timeout_s=0):
                    raise AssertionError("must not begin")
        async with admission.admitted() as policy:
            assert policy == OLD

    asyncio.run(scenario())


def test_without_an_engine_calls_are_turned_away() -> None:
    """They hear so at once, instead of waiting for an engine that may take minutes."""

    async def scenario() -> None:
        admission = Admission()
        with pytest.raises(NotServing):
            async with admission.admitted():
                pass

    asyncio.run(scenario())
