"""Whether an engine has the weights it should: its log-probabilities of fixed texts beside the trainer's own.

A reload can succeed and still answer with old weights, or with some of them.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import GateRefused
from serve.engines.engine import Engine
from train.schema import Probe


class ProbeFailed(GateRefused):
    """After the change the engine did not answer as this checkpoint should; the one before is back."""


@dataclass(frozen=True)
class Difference:
    """How far an engine's log-probabilities are from those expected, over all ids of all probes."""

    mean: float
    max: float
    num_tokens: int
    shift: float | None = None
    """Mean change the new weights were to make, seen from what the engine said before; null on a fresh start."""

    p99: float | None = None
    """Difference that one token in a hundred exceeds; with fewer tokens the largest. Null: as `max`."""

    doubt: float = 0.0
    """Mean of 1 - p over the tokens: near 0 where the model was sure of each, 1 where each was improbable."""


@dataclass(frozen=True)
class Limit:
    """Largest differences that are rounding and not other weights."""

    mean: float
    p99: float
    max: float
    mean_in_doubt: float
    """Mean allowed for tokens of probability 0, where that is more: see `Difference.doubt`."""


LIMITS: Mapping[str, Limit] = {"float32": Limit(mean=1e-3, p99=1e-2, max=1e-2, mean_in_doubt=1e-3)}
"""By precision of the engine."""

ROUNDED_LIMIT = Limit(mean=0.02, p99=0.3, max=1.0, mean_in_doubt=0.05)
"""Half precision. Measured on bfloat16: 0.0008 mean and 0.045 max for the right weights, 0.043 and 2.75 for a head
left behind by one small training step.

Rounding moves every logit by about as much; a log-probability moves by (1 - p) times that, less what the others move
on average: d log p_i = (1 - p_i) dz_i - sum over j != i of p_j dz_j. So a token the model is sure of hardly moves
(0.0007 on average above p = 0.9), and an improbable one moves in full (0.015 to 0.036 below p = 0.02, 0.33 at most of
2,000). Probes of improbable tokens are allowed that; those of likely tokens stay at the stricter mean."""


MAX_LEFT = 0.5
"""Largest part of the expected change that may be missing afterwards. Right weights leave rounding; a head left behind
leaves its own share of the change, and weights left behind leave all of it."""

SMALLEST_SHIFT: Mapping[str, float] = {"float32": 1e-4}
"""Mean change, by precision of the engine, below which what is missing of it cannot be told from rounding."""

SMALLEST_ROUNDED_SHIFT = 5e-3
"""The same for half precision: a few times the 0.0008 measured for the right weights in bfloat16."""


async def score_all(engine: Engine, probes: Sequence[Probe], model: str | None = None) -> list[float]:
    """Ask the engine for the log-probabilities of every id of every probe, of its own model or another it holds."""
    scores = await asyncio.gather(
        *(engine.score(probe.prompt_token_ids, probe.response_token_ids, model) for probe in probes)
    )
    return [each for of_probe in scores for each in of_probe]


def expected_scores(probes: Sequence[Probe]) -> list[float]:
    """Return what `score_all` would answer with the weights the probes were made with."""
    return [logprob for probe in probes for logprob in probe.logprobs]


def measure(scores: Sequence[float], expected: Sequence[float], before: Sequence[float] | None = None) -> Difference:
    """Return how far scores are from those expected, and how far those were from the scores before.

    >>> measure([-1.0, -2.0], [-1.0, -2.5], [-1.5, -2.0])
    Difference(mean=0.25, max=0.5, num_tokens=2, shift=0.5, p99=0.5, doubt=0.775...)
    """
    if not scores:
        return Difference(math.nan, math.nan, 0)
    distances = [abs(ours - theirs) for ours, theirs in zip(scores, expected, strict=True)]
    shift = None
    if before is not None:
        shift = sum(abs(new - old) for new, old in zip(expected, before, strict=True)) / len(scores)
    if any(math.isnan(distance) for distance in distances):
        return Difference(math.nan, math.nan, len(distances), shift)
    return Difference(
        sum(distances) / len(distances),
        max(distances),
        len(distances),
        shift,
        p99=sorted(distances)[math.ceil(0.99 * len(distances)) - 1],
        doubt=sum(1 - math.exp(min(0.0, each)) for each in expected) / len(distances),
    )


async def compare(engine: Engine, probes: Sequence[Probe], model: str | None = None) -> Difference:
    """Ask every part of the engine for the log-probabilities of the probes; return the worst of them."""
    expected = expected_scores(probes)
    return worst([measure(await score_all(part, probes, model), expected) for part in engine.parts])


def check_difference(difference: Difference, dtype: str, model: Path) -> None:
    """Raise `ProbeFailed` when an engine that has just opened a model does not answer as its probes say."""
    if not is_within(difference, dtype):
        raise ProbeFailed(
            f"{model} does not answer as its manifest says: log-probabilities are off by {difference.mean:.4f} on "
            f"average and {difference.max:.4f} at most",
            hint="Its files, or the engine, are not those it was made with. See docs/serving.md.",
        )


def worst(differences: Sequence[Difference]) -> Difference:
    """Return the largest difference; one that is not a number is larger than any."""
    return max(differences, key=lambda each: math.inf if math.isnan(each.mean) else each.mean)


def is_within(difference: Difference, dtype: str) -> bool:
    """Tell whether a difference is rounding; what is not a number never is.

    Two rules: it is small, and it is small beside the change the weights were to make. The second finds a part left
    behind by a small training step, which the first would pass.
    """
    limit = LIMITS.get(dtype, ROUNDED_LIMIT)
    mean = max(limit.mean, limit.mean_in_doubt * difference.doubt)
    p99 = difference.max if difference.p99 is None else difference.p99
    if not (difference.mean <= mean and p99 <= limit.p99 and difference.max <= limit.max):
        return False
    if difference.shift is None or difference.shift < SMALLEST_SHIFT.get(dtype, SMALLEST_ROUNDED_SHIFT):
        return True
    return difference.mean <= MAX_LEFT * difference.shift
