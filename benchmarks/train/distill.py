r"""What a student learns of a hosted teacher's calls: collected over OTLP, published, distilled, replayed.

    OMP_NUM_THREADS=1 python -m benchmarks.train.distill --calls 2000 --seeds 0 1 2 --shuffled
    make model && OMP_NUM_THREADS=1 python -m benchmarks.train.distill --student build/models/smollm2-135m-instruct \
        --calls 400 --budget 900

A scripted teacher answers behind an OpenAI-compatible URL, wrong in a tenth of its calculations. Agents with OpenAI's
client work on the demo's problems, a third of them under each of three instrumentations, really installed (the first
run takes them from a package index). The student is the demo's policy, or another. Before and after, it is replayed on
the held-out tasks; of the demo's policy the success on 1024 other held-out problems in one attempt each, at temperature
1, is measured as well (standard error at most 0.016). With --shuffled a student is taught by answers dealt by chance.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

import polars as pl

from benchmarks.train.nights import EXAMPLE, success
from benchmarks.train.teachers import INSTRUMENTATIONS, Logged, collect, read_right
from etl.schema import table_files
from spanloop.processes import StageFailed, run_stage
from spanloop.replay.candidate import opened
from spanloop.replay.scoring import by_outcomes
from spanloop.replay.states import longest_answer, read_states
from spanloop.replay.trial import Trial, attempt, recorded
from tests.logged import publish

POLICY = EXAMPLE / "policy"


def shuffle(data: Path, target: Path, *, seed: int) -> Path:
    """Publish the same transitions with answers dealt anew, first ones among first ones and so on."""
    rows = pl.read_parquet(table_files(data, "transitions"))
    dealt = rows.with_columns(action=pl.col("action").shuffle(seed=seed).over("step"))
    return publish(target, dealt.to_dicts())


def distil(data: Path, model: Path, *, seed: int, budget_s: float | None) -> Path | None:
    """Distil, say what came of it and how long it took, and return the checkpoint."""
    began = time.monotonic()
    limit = () if budget_s is None else ("--budget-s", f"{budget_s:g}")
    try:
        report = run_stage("distill", "--data", str(data), "--model", str(model), "--seed", str(seed), *limit)
    except StageFailed as failed:
        said = f"status {int(failed.exit_status)}: {failed.said.splitlines()[0]}"
        print(f"  distill {time.monotonic() - began:.0f} s: {said}", flush=True)
        return None
    print(
        f"  distill {time.monotonic() - began:.0f} s: {report['num_taught_calls']} calls taught, "
        f"{report['num_examined_calls']} held out, left out {report['left_out']}; held-out loss "
        f"{report['heldout_loss_before']} to {report['heldout_loss_after']}, {report['epochs']} passes",
        flush=True,
    )
    return Path(report["checkpoint"])


def replayed(data: Path, model: Path, *, seed: int) -> Trial:
    """Replay a model on the held-out states."""
    states = read_states(data, split="heldout")
    limit = longest_answer(states)
    with opened(str(model), engine="embedded", replay="benchmark", max_tokens=limit) as ask:
        return attempt(states, ask, by_outcomes(states), seed=seed)


def table(data: Path, logged: Logged, before: Trial, after: Trial | None) -> None:
    """Print, for each instrumentation and together, what was read right, and how far the student agrees."""
    right = read_right(data, logged)
    states = [each.state for each in before.replays]
    teacher = recorded(states, by_outcomes(states))
    print(f"  {'':14} {'read':>5} {'right':>6} {'states':>7} {'agreement of tool calls':>24} {'score':>25}")
    for name in (*INSTRUMENTATIONS, "together"):
        places = [
            place
            for place, state in enumerate(states)
            if name in (logged.instrumentation_of(state.messages), "together")
        ]
        counted = [right[name]] if name in right else list(right.values())
        trials = [before] if after is None else [before, after]
        agreed = [f"{_agreement(trial, places):.3f}" for trial in trials]
        scores = [f"{_score(trial, places):.3f}" for trial in trials]
        print(
            f"  {name:14} {sum(found for found, _ in counted):5} {sum(found for _, found in counted):6} "
            f"{len(places):7} {' to '.join(agreed):>24} "
            f"{'teacher ' + f'{_score(teacher, places):.3f}, ' + ' to '.join(scores):>36}",
            flush=True,
        )


def _agreement(trial: Trial, places: list[int]) -> float:
    return fmean(each for place in places for each in trial.replays[place].agreements())


def _score(trial: Trial, places: list[int]) -> float:
    return fmean(score for place in places if (score := trial.scores[place]) is not None)


def measure(arguments: argparse.Namespace, *, seed: int) -> None:
    """Collect, publish, distil, and once more with answers by chance."""
    model: Path = arguments.student
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        data.mkdir()
        began = time.monotonic()
        logged = collect(data, num_problems=arguments.calls // 2, seed=seed)
        run_stage("etl", "run", "--data", str(data))
        print(
            f"seed {seed}: {logged.asked.total()} calls in {time.monotonic() - began:.0f} s; teacher's mean reward "
            f"{logged.reward:.3f}",
            flush=True,
        )
        before = replayed(data, model, seed=seed)
        student = distil(data, model, seed=seed, budget_s=arguments.budget)
        table(data, logged, before, None if student is None else replayed(data, student, seed=seed))
        if model == POLICY:
            print(f"  success {_success(model)}, after {_success(student)}", flush=True)
        if arguments.shuffled:
            print("  answers by chance:", flush=True)
            mixed = shuffle(data, Path(place) / "shuffled", seed=seed)
            student = distil(mixed, model, seed=seed, budget_s=arguments.budget)
            if student is not None:
                table(data, logged, before, replayed(data, student, seed=seed))
            if model == POLICY:
                print(f"  success after {_success(student)}", flush=True)


def _success(model: Path | None) -> str:
    return "-" if model is None else f"{success(model):.3f}"


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", type=Path, default=POLICY, help="model directory")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--shuffled", action="store_true", help="distil a second time, from answers dealt by chance")
    parser.add_argument("--budget", type=float, help="seconds of teaching")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        measure(arguments, seed=seed)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
