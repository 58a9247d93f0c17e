"""Whether held-out success rose by more than chance."""

from collections.abc import Sequence
from math import comb


def paired_p_value(before: Sequence[bool], after: Sequence[bool]) -> float:
    """Return the one-sided exact McNemar p-value that success after is no more likely than before.

    `before[i]` and `after[i]` are attempts at the same problem by the old and the new policy. Only problems whose
    result changed count; under the null hypothesis each of them is as likely to have changed for the better as for the
    worse: p = P(Binomial(better + worse, 1/2) >= better). Nothing changed: p = 1.
    Source: McNemar (1947), Psychometrika 12, exact version.

    >>> paired_p_value([False] * 5 + [True], [True] * 5 + [True])
    0.03125
    >>> paired_p_value([True], [True])
    1.0
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} attempts before, {len(after)} after: they are not pairs")
    better = sum(b < a for b, a in zip(before, after, strict=True))
    worse = sum(b > a for b, a in zip(before, after, strict=True))
    changed = better + worse
    at_least_as_many: int = sum(comb(changed, k) for k in range(better, changed + 1))
    return at_least_as_many / 2.0**changed
