"""Phases of an update."""

import torch

from train.metrics.stopwatch import Stopwatch


def test_a_stopwatch_adds_up_phases() -> None:
    """Two seconds twice, and one."""
    ticks = iter([0.0, 2.0, 3.0, 5.0, 9.0, 10.0])
    watch = Stopwatch(torch.device("cpu"), lambda: next(ticks))

    for phase in ("forward", "forward", "step"):
        with watch.phase(phase):
            pass

    assert watch.spent_s == {"forward": 4.0, "step": 1.0}
