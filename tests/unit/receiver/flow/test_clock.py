"""The receiver's clock runs one way, and knows when the machine's does not."""

from receiver.flow.clock import TOLERANCE_S, Clock

HOUR_NS = 3600 * 10**9


def test_instants_of_receipt_never_run_backwards() -> None:
    """A clock set back files what comes under the latest instant seen."""
    times = iter([5 * HOUR_NS, 6 * HOUR_NS, 2 * HOUR_NS, 7 * HOUR_NS])
    clock = Clock(lambda: next(times))

    assert [clock.receive() for _ in range(3)] == [6 * HOUR_NS, 6 * HOUR_NS, 7 * HOUR_NS]


def test_a_jump_is_told_from_time_that_passed() -> None:
    """In both directions, beyond the tolerance."""
    now = [100 * HOUR_NS]
    clock = Clock(lambda: now[0])
    assert clock.jumped_s == 0

    now[0] += int(TOLERANCE_S * 2e9)
    assert round(clock.jumped_s, -1) == 2 * TOLERANCE_S
    now[0] -= int(TOLERANCE_S * 4e9)
    assert round(clock.jumped_s, -1) == -2 * TOLERANCE_S
