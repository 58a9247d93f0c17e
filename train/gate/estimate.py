"""What held-out episodes say of a policy: an off-policy estimate with its interval. Pure functions over arrays.

One call at a time: the calls before and after are taken as the old policy made them, and an episode's gain is the sum
over its calls (the first order of the performance difference, Kakade and Langford 2002). A ratio over whole episodes
would be worth nothing after a few hundred tokens.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from train.credit.advantages import center

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRIOR_EPISODES = 4.0
"""Weight of the mean over other tasks in a task's baseline: held-out tasks are often attempted once."""


@dataclass(frozen=True)
class Estimate:
    """What an episode would earn under the new policy beyond what it earns under the one it is compared with."""

    num_episodes: int
    num_clusters: int
    """Groups of episodes that count as one observation each, such as tasks."""

    num_calls: int
    earned: float
    """Mean outcome of the episodes, as logged."""

    gain: float
    """Estimated difference of the mean outcome of an episode, new policy less the other: the sum over its calls of
    (new weight - other weight) (outcome - baseline)."""

    gain_low: float
    gain_high: float
    """Ends of its confidence interval: Student's, with the variance of the jackknife over clusters. Infinite where
    there are fewer than two."""

    ess_share: float
    """Effective number of calls after weighting, as a share of all."""

    max_weight_share: float
    """Share of the largest weight in the sum of all."""

    kl_call: float
    """Distance of the new policy from the other, nats a call."""

    nll: float | None
    """Negative log-likelihood of the calls that went better than their baseline, nats a token; null without any."""

    nll_before: float | None
    """The same under the other policy."""


def estimate(
    log_ratio: Floats,
    kl: Floats,
    outcomes: Floats,
    episode: Ints,
    task: Ints,
    *,
    cluster: Ints,
    logprob: Floats,
    num_tokens: Ints,
    confidence: float,
    log_ratio_other: Floats | None = None,
) -> Estimate:
    """Estimate the gain of a policy over another from logged calls.

    `log_ratio` is log(new / acted) of each call's whole action, `log_ratio_other` that of the policy it is compared
    with, null where that is the one that acted. `kl` is the summed divergence of new from other, `logprob` and
    `num_tokens` the action's log-probability under the other and its length; `episode` indexes `outcomes`, `task` and
    `cluster`, which are of each episode. There must be at least one call.
    """
    new = bounded_weights(log_ratio)
    other = np.ones_like(new) if log_ratio_other is None else bounded_weights(log_ratio_other)
    above = center(
        outcomes,
        episode=np.arange(len(outcomes)),
        slot=np.zeros(len(outcomes), dtype=np.int64),
        task=task,
        shrinkage=PRIOR_EPISODES,
    )
    gains: Floats = np.bincount(episode, (new - other) * above[episode], minlength=len(outcomes)).astype(np.float64)
    gain, low, high = mean_interval(gains, cluster, confidence=confidence)
    good = above[episode] > 0
    good_tokens = int(num_tokens[good].sum())
    change = log_ratio if log_ratio_other is None else log_ratio - log_ratio_other
    return Estimate(
        num_episodes=len(outcomes),
        num_clusters=len(np.unique(cluster)),
        num_calls=len(new),
        earned=float(outcomes.mean()),
        gain=gain,
        gain_low=low,
        gain_high=high,
        ess_share=effective_share(log_ratio),
        max_weight_share=float(new.max() / new.sum()),
        kl_call=float(kl.mean()),
        nll=float(-(logprob + change)[good].sum() / good_tokens) if good_tokens else None,
        nll_before=float(-logprob[good].sum() / good_tokens) if good_tokens else None,
    )


def bounded_weights(log_ratio: Floats) -> Floats:
    """Return importance weights with mean 1, none above the root of their number before that.

    Truncation at the root of the sample size keeps the estimate consistent and its variance finite (Ionides 2008,
    "Truncated importance sampling", JCGS 17(2)); dividing by the mean takes the noise of the sum out.

    >>> bounded_weights(np.log([1.0, 3.0, 1.0, 9.0]))
    array([0.66666667, 1.33333333, 0.66666667, 1.33333333])
    """
    weights = np.exp(np.minimum(log_ratio, 0.5 * math.log(len(log_ratio))))
    mean = weights.mean()
    bounded: Floats = weights / mean if mean > 0 else weights * math.nan
    return bounded


def effective_share(log_ratio: Floats) -> float:
    """Return (sum w)^2 / (n sum w^2) of unbounded weights, whatever their size.

    >>> round(effective_share(np.log([1.0, 3.0])), 6)
    0.8
    """
    weights = np.exp(log_ratio - log_ratio.max())
    return float(weights.sum() ** 2 / (weights**2).sum() / len(weights))


def mean_interval(values: Floats, cluster: Ints, *, confidence: float) -> tuple[float, float, float]:
    """Return the mean of values and its interval, where values of one cluster count as one observation.

    Leaving out one cluster at a time gives the variance, Student's distribution with a degree less than there are
    clusters the width. A percentile bootstrap is too narrow with few clusters; `benchmarks/train/gate.py` compares.

    >>> mean_interval(np.array([0.0, 1.0]), np.array([7, 7]), confidence=0.95)
    (0.5, -inf, inf)
    """
    mean = float(values.mean())
    _, index = np.unique(cluster, return_inverse=True)
    sums, sizes = np.bincount(index, values), np.bincount(index)
    if len(sums) < 2:
        return mean, -math.inf, math.inf
    without = (values.sum() - sums) / (len(values) - sizes)
    variance = (len(sums) - 1) / len(sums) * float(((without - mean) ** 2).sum())
    half = student_quantile((1 + confidence) / 2, len(sums) - 1) * math.sqrt(variance)
    return mean, mean - half, mean + half


def student_quantile(share: float, degrees: int) -> float:
    """Return a quantile of Student's distribution, from the normal one (Cornish and Fisher's expansion).

    Exact for one and two degrees, within 0.2 % from three on where `share` is 0.99 at most.

    >>> [round(student_quantile(0.975, degrees), 2) for degrees in (1, 2, 3, 10, 100)]
    [12.71, 4.3, 3.18, 2.23, 1.98]
    """
    if degrees == 1:
        return math.tan(math.pi * (share - 0.5))
    if degrees == 2:
        tail = 4 * share * (1 - share)
        return (2 * share - 1) * math.sqrt(2 / tail)
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / float(degrees) ** power for power, term in enumerate(terms, 1))
