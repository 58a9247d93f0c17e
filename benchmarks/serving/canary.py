"""How a canary's test behaves: false alarms when nothing differs, and how many units it takes when something does.

    python -m benchmarks.serving.canary --runs 1000

Simulated canaries at one share, with three times as many units in the live arm, looked at after every ten units of the
canary. No model, no server. False alarms are counted at the level of a whole canary (0.05) as if it had one metric at
one share; detections at the level of one of four metrics at one of three shares. Prints one JSON object.
"""

import argparse
import json
import math

import numpy as np

from serve.canary.sequential import Source, evidence_below

LOOK_EVERY = 10


def run(rng: np.random.Generator, good: float, bad: float, *, alpha: float, units: int) -> int | None:
    """Return after how many units of the canary its reward (mean `bad`) is called less than the live model's."""
    mine, theirs = Source(), Source()
    for seen in range(LOOK_EVERY, units + 1, LOOK_EVERY):
        mine.add((rng.random(LOOK_EVERY) < bad).astype(float).tolist())
        theirs.add((rng.random(3 * LOOK_EVERY) < good).astype(float).tolist())
        if evidence_below(mine, theirs) >= -math.log(alpha):
            return seen
    return None


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--units", type=int, default=1000)
    arguments = parser.parse_args()
    rng = np.random.default_rng(20261121)
    alarms = {
        mean: sum(run(rng, mean, mean, alpha=0.05, units=arguments.units) is not None for _ in range(arguments.runs))
        / arguments.runs
        for mean in (0.02, 0.5, 0.8)
    }
    found = {}
    for good, bad in ((0.8, 0.6), (0.8, 0.7), (0.5, 0.4), (0.99, 0.9), (0.99, 0.95)):
        runs = [
            run(rng, good, bad, alpha=0.05 / 12, units=2 * arguments.units) for _ in range(max(1, arguments.runs // 10))
        ]
        units = np.array([math.inf if each is None else each for each in runs])
        found[f"{bad:g} instead of {good:g}"] = {
            "median": float(np.median(units)),
            "p90": float(np.quantile(units, 0.9, method="higher")),
        }
    print(json.dumps({"false_alarms": alarms, "units_until_found": found}, indent=2))


if __name__ == "__main__":
    main()
