"""How far a run may have come after each of its updates, and how its step follows from that. Pure functions.

The KL budget of a run is spread evenly over its updates. A divergence grows with the square of a straight way, so an
even spread allows the first updates the longest steps, and later ones shorter ones. The step finds its size by this
pace: whatever the model, the task or the learning rate to begin with, a run neither leaps out of its budget in the
first epoch nor ends where it began.
"""

import math
from dataclasses import dataclass

LONGEST_STRETCH = 4
"""Updates between checks, at most; the first checks are after one update and two."""

TOLERANCE = 1.5
"""How far beyond the pace a run may be before it goes back, as long as it is within the budget."""

SLOWEST = 1 / 16
"""Largest change of the learning rate at a check, downwards."""

FASTEST = 2.0
"""And upwards."""

MOST = 4.0
"""The learning rate to begin with is raised to this multiple, at most."""


@dataclass(frozen=True)
class Pace:
    """The budget of a run, in nats a call, over its planned updates."""

    budget: float
    num_planned: int
    may_hasten: bool = True
    """The learning rate may become larger than it is to begin with: nobody asked for that very one."""

    def allowed(self, done: int) -> float:
        """Return the distance meant for a number of updates.

        >>> Pace(0.5, 100).allowed(50)
        0.25
        """
        return self.budget * min(1.0, done / max(1, self.num_planned))

    def tolerated(self, done: int) -> float:
        """Return the distance beyond which a run goes back.

        >>> Pace(0.5, 100).tolerated(50), Pace(0.5, 100).tolerated(90)
        (0.375, 0.5)
        """
        return min(self.budget, TOLERANCE * self.allowed(done))

    def is_due(self, num_kept: int, num_since: int, done: int) -> bool:
        """Tell whether to measure, after so many updates up to the last check and so many since."""
        return done >= self.num_planned or num_since >= max(1, min(num_kept, LONGEST_STRETCH))

    def slow_down(self, share: float) -> float:
        """Return the factor for the learning rate after only a share of a way could be kept."""
        return max(min(math.sqrt(share), 0.8), SLOWEST)

    def correct(self, found: float, done: int, *, rate: float) -> float:
        """Return the factor for the learning rate, now `rate` times that of the beginning, at a measured distance."""
        wanted = math.sqrt(self.allowed(done) / found) if found > 0 else FASTEST
        largest = MOST if self.may_hasten else 1.0
        return max(0.5, min(wanted, FASTEST, largest / rate))
