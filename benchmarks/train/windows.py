"""What a window of minutes costs beyond collecting its episodes and training on them.

    OMP_NUM_THREADS=1 python -m benchmarks.train.windows --windows 3 --episodes 128

The demo's policy answers the demo's problems in process; the calls are published as the ETL would publish them, so of
the ETL only its start and its look at an empty store are counted. Then the stages of `spanloop nightly --watch` run as
it runs them, as forks of a warm process: train, evaluate, promote, without a gateway. A line a window: seconds of the
clock for collecting, for the updates, and for everything else, and that as a share of the first two.
"""

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.train.nights import EXAMPLE, collect, generate
from serve.change import registry
from spanloop.processes import StageFailed
from spanloop.warm import WarmStages
from tests.logged import publish


def main() -> None:
    """Read the command line and run the windows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=128)
    parser.add_argument("--attempts", type=int, default=4)
    arguments = parser.parse_args()
    stages, model = WarmStages(), EXAMPLE / "policy"
    print("| window | collecting | updates | everything else | share |", "|---|---|---|---|---|", sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        for number in range(1, arguments.windows + 1):
            data = Path(directory) / str(number)
            began = time.monotonic()
            tasks = generate(arguments.episodes // arguments.attempts, split="train", seed=number)
            rows = collect(
                model, [task for task in tasks for _ in range(arguments.attempts)], split="train", seed=number
            )
            held = generate(arguments.episodes // 10, split="heldout", seed=number)
            publish(data, [*rows, *collect(model, held, split="heldout", seed=number)])
            collecting = time.monotonic() - began
            registry.initialise(data, model, "base")
            began = time.monotonic()
            try:
                stages.run(["etl", "run", "--data", str(data), "--dry-run", "--json"])
                trained = stages.run(
                    [
                        *("train", "run", "--data", str(data), "--model", str(model), "--recipe", "window", "--json"),
                        *("--out", f"{directory}/checkpoints"),
                    ]
                )
                checkpoint = trained["checkpoint"]
                judged = ["--data", str(data), "--checkpoint", checkpoint, "--inconclusive", "accept", "--json"]
                stages.run(["train", "evaluate", *judged])
                stages.run(["serve", "promote", "--data", str(data), checkpoint, "--json"])
            except StageFailed as error:
                print(f"window {number}: {error.message}", flush=True)
                continue
            updates = next(phase["duration_s"] for phase in trained["phases"] if phase["name"] == "train")
            rest = time.monotonic() - began - updates
            share = rest / (collecting + updates)
            print(f"| {number} | {collecting:.1f} | {updates:.1f} | {rest:.1f} | {share:.2f} |", flush=True)
            model = Path(checkpoint)


if __name__ == "__main__":
    main()
