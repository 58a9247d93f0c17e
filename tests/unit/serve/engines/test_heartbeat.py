"""An engine that does nothing is told from one that is late."""

import asyncio

from serve.engines.heartbeat import Pulse, wait_until_hung


def test_only_checks_that_go_unanswered_in_a_row_count() -> None:
    """The first may have begun before the whole machine was suspended."""
    answers = iter([True, False, True, False, False])
    asked: list[float] = []

    async def answer(timeout_s: float) -> bool:
        asked.append(timeout_s)
        return next(answers)

    asyncio.run(wait_until_hung(answer, Pulse(interval_s=0, timeout_s=3.0, num_missed=2)))

    assert asked == [3.0] * 5
