"""How often the gate is wrong: nights whose truth is known, judged by the real estimate.

    OMP_NUM_THREADS=1 python -m benchmarks.train.gate --nights 2000

Every night draws tasks of their own difficulty, several attempts at each, several calls an attempt, and for every call
the weight of its answer under a new policy: Gaussian in the log, of a size that differs from task to task, or a few
answers that became much likelier or less likely. What the change is worth is known: nothing, or `--gain` times the mean
change of an episode. A line a shape: share of nights called better and worse where there is no difference (2.5 % each
at the confidence of 95 %), the same by the percentile bootstrap over tasks, and with a difference how often it is seen,
and how often the interval lies above the truth and below it.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.gate.estimate import Estimate, estimate

Floats = NDArray[np.float64]

SHAPES = ((8, 8, 2), (16, 4, 2), (16, 1, 1), (64, 2, 2), (256, 1, 1))
"""Tasks, attempts, calls an attempt."""


@dataclass(frozen=True)
class Night:
    """What a gate would be given, and what is true."""

    log_ratio: Floats  # (episode, call)
    outcomes: Floats
    task: NDArray[np.int64]
    truth: float


def draw(rng: np.random.Generator, shape: tuple[int, int, int], *, size: float, kind: str, gain: float) -> Night:
    """Draw one night; `size` is the deviation of a call's log-weight, `gain` what a unit of change is worth."""
    num_tasks, attempts, calls = shape
    task = np.repeat(np.arange(num_tasks), attempts)
    chance = rng.beta(1, 1, num_tasks)[task]
    if kind == "few":
        changed, up = rng.random((len(task), calls)) < 0.2, rng.random((len(task), calls)) < 0.5
        weight = np.where(changed, np.where(up, 1 + 2 * size, max(0.02, 1 - 2 * size)), 1.0)
        better = (weight - 1).sum(axis=1)
        spread = 0.2 * 0.5 * ((2 * size) ** 2 + (1 - max(0.02, 1 - 2 * size)) ** 2)
        mean = 0.2 * 0.5 * (2 * size - (1 - max(0.02, 1 - 2 * size)))
        weight, log_ratio = weight / (1 + mean), np.log(weight / (1 + mean))
        truth = gain * calls * (spread - mean**2) / (1 + mean) if gain else 0.0
    else:
        deviation = size * (rng.exponential(1, num_tasks) if kind == "uneven" else np.ones(num_tasks))[task][:, None]
        normal = rng.normal(size=(len(task), calls))
        log_ratio = deviation * normal - deviation**2 / 2
        better = normal.sum(axis=1)
        truth = gain * calls * size  # E[w z] = deviation, whose mean is `size`
    chance = chance if not gain else 0.25 + 0.5 * chance + gain * better
    outcomes = (rng.random(len(task)) < chance).astype(float) if not gain else chance + rng.normal(0, 0.4, len(task))
    return Night(log_ratio, outcomes, task, truth)


def judge(night: Night) -> Estimate:
    """Give a night to the gate's estimate."""
    episodes, calls = night.log_ratio.shape
    return estimate(
        night.log_ratio.ravel(),
        np.zeros(night.log_ratio.size),
        night.outcomes,
        np.repeat(np.arange(episodes), calls),
        night.task,
        cluster=night.task,
        logprob=np.full(night.log_ratio.size, -1.0),
        num_tokens=np.ones(night.log_ratio.size, dtype=np.int64),
        confidence=0.95,
    )


def bootstrap(night: Night, rng: np.random.Generator, *, resamples: int = 500) -> tuple[float, float]:
    """Return the percentile interval of unbounded weights over whole tasks, for comparison."""
    size = np.bincount(night.task).astype(float)
    total = np.bincount(night.task, night.outcomes)
    others = (len(night.task) - size)[night.task]
    prior = (night.outcomes.sum() - total[night.task]) / others
    baseline = (total[night.task] - night.outcomes + 4 * prior) / (size[night.task] + 3)
    gains = ((np.exp(night.log_ratio) - 1) * (night.outcomes - baseline)[:, None]).sum(axis=1)
    sums = np.bincount(night.task, gains)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples)
    low, high = np.quantile((drawn @ sums) / (drawn @ size), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=2000)
    parser.add_argument("--gain", type=float, default=0.1)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.3, 0.8])
    arguments = parser.parse_args()
    names = ("change", "size", "tasks x attempts x calls", "better", "worse", "bootstrap: better", "worse")
    names += ("seen", "overstated", "understated")
    print(f"| {' | '.join(names)} |", "|---" * len(names) + "|", sep="\n")
    for kind in ("even", "uneven", "few"):
        for size in arguments.sizes:
            for shape in SHAPES:
                counts = np.zeros(7)
                for seed in range(arguments.nights):
                    rng = np.random.default_rng(seed)
                    night = draw(rng, shape, size=size, kind=kind, gain=0.0)
                    found, (low, high) = judge(night), bootstrap(night, rng)
                    night = draw(rng, shape, size=size, kind=kind, gain=arguments.gain)
                    real = judge(night)
                    counts += (found.gain_low > 0, found.gain_high < 0, low > 0, high < 0, real.gain_low > 0,
                               real.gain_low > night.truth, real.gain_high < night.truth)  # fmt: skip
                shares = " | ".join(f"{100 * count / arguments.nights:.1f}" for count in counts)
                print(f"| {kind} | {size} | {' x '.join(map(str, shape))} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
