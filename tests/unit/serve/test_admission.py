import asyncio
from typing import Any

import pytest

from foundation.errors import Busy
from serve.admission import Admission, Serving
from serve.engines.engine import NotServing
from serve.evidence.spans import Policy

ENGINE: Any = object()
OLD, NEW = (Serving(ENGINE, "base", Policy(version, None, None)) for version in ("old", "new"))


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
            async with admission.admitted() as serving:
                await finish.wait()
                seen.append(serving.policy.version)

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
        async with admission.admitted() as serving:
            assert serving is OLD

    asyncio.run(scenario())


def test_calls_end_where_they_began_when_another_takes_over() -> None:
    """New calls go to the new one at once; the old one is drained when the last of its own has ended."""

    async def scenario() -> list[str]:
        admission = Admission()
        admission.begin(OLD)
        seen: list[str] = []
        async with admission.admitted() as early:
            admission.begin(NEW)
            async with admission.admitted() as late:
                seen += [early.policy.version, late.policy.version]
            waiting = asyncio.create_task(admission.drained(OLD))
            await settle()
            assert not waiting.done()
        await waiting
        assert admission.num_in_flight == 0
        return seen

    assert asyncio.run(scenario()) == ["old", "new"]


def test_without_an_engine_calls_are_turned_away() -> None:
    """They hear so at once, instead of waiting for an engine that may take minutes."""

    async def scenario() -> None:
        admission = Admission()
        with pytest.raises(NotServing):
            async with admission.admitted():
                pass

    asyncio.run(scenario())
