"""Is one mean smaller than another? A test that may be looked at after every observation, and stopped at any.

Testing by betting. For every value m there are gamblers who bet, observation by observation, that the mean of a source
is above m, or below it. Each puts a fixed part f of his wealth on a bet that pays x/m, or (1-x)/(1-m), and keeps the
rest. Where he is wrong his wealth is a nonnegative supermartingale, and so is the average over gamblers with different
f; by Ville's inequality it ever reaches 1/alpha times the first stake with probability alpha at most (Waudby-Smith and
Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS-B 86(1); the average is their diversified
Kelly bettor). One gambler who stakes nothing keeps the average from ruin.

Two sources are compared through the m between them: if mean(x) >= mean(y), then for some m (any of those between) both
"x is below m" and "y is above m" are wrong, and the product of the two wealths is a supermartingale. The smallest
product over all m is therefore evidence against mean(x) >= mean(y), however often one looks (an e-process: Ramdas,
Grünwald, Vovk and Shafer 2023, "Game-theoretic statistics and safe anytime-valid inference", Statistical Science 38).

Observations lie in [0, 1], and each has the mean of its source given all before it, of either source. Nothing is
assumed of their distribution. Wealth is kept as its natural logarithm. What the observations say does not depend on
their order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUM_CELLS = 200
GRID: Floats = np.linspace(0, 1, NUM_CELLS + 1)
"""Values of m. Both wealths are monotone in m, so that the ends of a cell bound what lies within: nothing is lost to
the grid but a little power."""

STAKES: Floats = np.array([0.0, *(0.5**power for power in range(1, 9))])
"""Parts of their wealth the gamblers risk: a gap of g between means a standard deviation s apart is found fastest by a
stake near m g / s^2, which nobody knows beforehand."""


def _zeros() -> Floats:
    return np.zeros((len(STAKES), NUM_CELLS + 1))


@dataclass
class Source:
    """Observations of one source, as far as they matter."""

    num: int = 0
    total: float = 0.0
    _above: Floats = field(default_factory=_zeros, repr=False)
    """Log-wealth of those who bet that the mean is above m, (stake, m): falls with m."""

    _below: Floats = field(default_factory=_zeros, repr=False)
    """Log-wealth of those who bet that it is below, (stake, m): rises with m."""

    @property
    def mean(self) -> float:
        """Mean of the observations; not a number where there are none."""
        return self.total / self.num if self.num else math.nan

    @property
    def above(self) -> Floats:
        """Log of the gamblers' average wealth who bet that the mean is above m, by m."""
        return _log_mean_exp(self._above)

    @property
    def below(self) -> Floats:
        """Log of the gamblers' average wealth who bet that the mean is below m, by m."""
        return _log_mean_exp(self._below)

    def add(self, observations: Sequence[float]) -> None:
        """Take in observations."""
        values, counts = np.unique(np.asarray(observations, dtype=np.float64), return_counts=True)
        if len(values) and not 0 <= values[0] <= values[-1] <= 1:
            raise ValueError(f"observations must lie in [0, 1], not in [{values[0]}, {values[-1]}]")
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._above += count * _log_factor(value, GRID)
            self._below += count * _log_factor(1 - value, 1 - GRID)
        self.num += len(observations)
        self.total += float(np.sum(observations))


def _log_factor(value: float, price: Floats) -> Floats:
    """Return by how much one observation multiplies the wealth of each gambler, as a logarithm, (stake, m)."""
    paid = np.divide(value, price, out=np.full_like(price, math.inf if value else 0.0), where=price > 0)
    stakes = STAKES[1:, None]
    factors: Floats = np.vstack([np.zeros_like(price)[None], np.log(1 - stakes + stakes * paid[None])])
    return factors


def _log_mean_exp(logs: Floats) -> Floats:
    mean: Floats = np.logaddexp.reduce(logs, axis=0) - math.log(len(logs))
    return mean


def evidence_below(x: Source, y: Source, shift: float = 0.0) -> float:
    """Return the log-evidence against mean(x) - mean(y) >= shift: once at log(1/alpha), reject that at level alpha.

    `shift` is rounded down to the grid, which only weakens the evidence.
    """
    return _evidence_below(x.below, y.above, math.floor(shift * NUM_CELLS + 1e-9))


def _evidence_below(below: Floats, above: Floats, step: int) -> float:
    # There is an m, both it and m + shift between 0 and 1, with mean(y) <= m and mean(x) >= m + shift.
    low, high = max(0, -step), min(NUM_CELLS, NUM_CELLS - step)
    if low == high:
        return float(below[low + step] + above[low])
    # For m between grid points i and i+1, x's gamblers have at least what they have at i, y's what they have at i+1.
    return float(np.min(below[low + step : high + step] + above[low + 1 : high + 1]))


def bounds(x: Source, y: Source, alpha: float) -> tuple[float, float]:
    """Return what mean(x) - mean(y) lies between: each bound holds at every moment at once, with chance 1 - alpha.

    Both are points of the grid, or -1 and 1 where nothing is known yet.
    """
    return -_upper(y, x, alpha), _upper(x, y, alpha)


def _upper(x: Source, y: Source, alpha: float) -> float:
    """Return the smallest shift that mean(x) - mean(y) is known to be below."""
    below, above, enough = x.below, y.above, math.log(1 / alpha)
    low, high = -NUM_CELLS, NUM_CELLS
    while low < high:
        middle = (low + high) // 2
        if _evidence_below(below, above, middle) >= enough:
            high = middle
        else:
            low = middle + 1
    return low / NUM_CELLS
