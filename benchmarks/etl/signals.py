"""What each signal is worth: learning with the outcome alone, and with one signal beside it, on two small tasks.

    OMP_NUM_THREADS=1 python -m benchmarks.etl.signals --seeds 6 --nights 8

The tasks: `game`, six turns of a useful tool, a useless tool, or an answer (its dynamics are those of the trainer's
tests); `calculator`, the demo's problems, tool and grading. The policies are tables, so that a night takes a second:
what a night plays is written as spans and goes through the ETL, whose `return_` is all that the policy is updated by
(REINFORCE, less the mean of the other attempts at the task). Reported for each signal: the success of the policy after
the last night, its mean over the nights, and the difference of that mean from the outcome alone on the same seeds, with
its standard error. `retry`, `waste` and `user_reply` never fire on these tasks, and are left out.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import Span, evaluation, llm, logs_frame, span, spans_frame, tool
from tests.unit.train.game import ANSWER, CHANCE, TURNS, win

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "calculator"))

from agent import MAX_TURNS, evaluate
from problems import generate, grade

Floats = NDArray[np.float64]

TASKS_A_NIGHT = 24
ATTEMPTS = 4
RATE = 20.0
OFFER = (
    '[{"type": "function", "name": "calculator", "parameters": {"type": "object", "required": ["expression"],'
    ' "properties": {"expression": {"type": "string"}}}}]'
)
SIGNALS = {"tool_status": 0.1, "argument_schema": 0.1, "repetition": 0.1, "progress": 1.0}
"""What is tried, by default with these weights."""


@dataclass(frozen=True)
class Attempt:
    """What one attempt came to: the state and the action of each call, the outcome, and the spans of it."""

    states: list[int]
    actions: list[int]
    outcome: float
    spans: list[Span]


Draw = Callable[[int], int]
Play = Callable[[np.random.Generator, int, Draw, str], Attempt]


def play_game(rng: np.random.Generator, seed: int, draw: Draw, name: str) -> Attempt:  # noqa: ARG001 - as tasks go
    """Play the game of the trainer's tests."""
    states: list[int] = []
    actions: list[int] = []
    spans: list[Span] = []
    useful, outcome = 0, 0.0
    asked = [("user", f"task {name.rsplit('.', 1)[0]}")]
    for turn in range(TURNS):
        states.append(turn * (TURNS + 1) + useful)
        actions.append(draw(states[-1]))
        common: dict[str, Any] = {"trace": name, "parent": f"{name} root"}
        if actions[-1] == ANSWER:
            outcome = float(rng.random() < win(np.array(useful)))
            spans.append(llm(f"{name} {turn}", start=turn + 0.1, end=turn + 0.2, asked=list(asked), **common))
            break
        which = ("useful", "useless")[actions[-1]]
        success = rng.random() < CHANCE[actions[-1]]
        useful += which == "useful" and success
        call = (f"{name} {turn}", which, {"turn": turn})
        spans.append(llm(f"{name} {turn}", start=turn + 0.1, end=turn + 0.2, asked=list(asked), calls=[call], **common))
        status = "ok" if success else "error"
        spans.append(
            tool(
                f"{name} t{turn}",
                tool_name=which,
                call_id=call[0],
                start=turn + 0.3,
                end=turn + 0.4,
                status=status,
                **common,
            )
        )
        asked += [("assistant", f"{which} {turn}"), ("user", status)]
    return Attempt(states, actions, outcome, spans)


RIGHT, WRONG, BROKEN, UNFIT, STATE_RESULT, GUESS = range(6)
"""The calculator's actions: the right expression, another, none at all, the wrong argument; the result as the answer,
or a guess."""

NOTHING, FAILED, RESULT = range(3)
"""What the calculator's last call came to."""


def play_calculator(rng: np.random.Generator, seed: int, draw: Draw, name: str) -> Attempt:
    """Play a problem of the demo."""
    (problem,) = generate(1, split="train", seed=seed)
    states: list[int] = []
    actions: list[int] = []
    spans: list[Span] = []
    known, result, outcome = NOTHING, "", 0.0
    asked = [("user", problem.text)]
    for turn in range(MAX_TURNS):
        states.append(known * MAX_TURNS + turn)
        action = draw(states[-1])
        actions.append(action)
        common: dict[str, Any] = {
            "trace": name,
            "parent": f"{name} root",
            "attributes": {"gen_ai.tool.definitions": OFFER},
        }
        begun = {"start": turn + 0.1, "end": turn + 0.2}
        if action in (STATE_RESULT, GUESS):
            text = result if action == STATE_RESULT and result else str(rng.integers(0, 100))
            outcome = grade(f"The answer is {text}.", problem)
            spans.append(llm(f"{name} {turn}", asked=list(asked), said=f"The answer is {text}.", **begun, **common))
            break
        expression = {RIGHT: problem.expression, WRONG: f"{rng.integers(1, 50)}+1", BROKEN: "what?"}.get(action, "")
        arguments = {"sum": problem.expression} if action == UNFIT else {"expression": expression}
        call = (f"{name} {turn}", "calculator", arguments)
        spans.append(llm(f"{name} {turn}", asked=list(asked), said=None, calls=[call], **begun, **common))
        try:
            result, known, status = str(evaluate(arguments["expression"])), RESULT, "ok"
        except (ValueError, KeyError, TypeError, ArithmeticError):
            known, status = FAILED, "error"
        ran = {"start": turn + 0.3, "end": turn + 0.4, "status": status, "trace": name, "parent": f"{name} root"}
        spans.append(tool(f"{name} t{turn}", tool_name="calculator", call_id=call[0], arguments=arguments, **ran))
        asked += [("assistant", f"call {turn}"), ("user", result if status == "ok" else "error")]
    return Attempt(states, actions, outcome, spans)


TASKS: dict[str, tuple[Play, int, int]] = {
    "game": (play_game, TURNS * (TURNS + 1), 3),
    "calculator": (play_calculator, 3 * MAX_TURNS, 6),
}
"""How a task is played, its states and its actions."""


def settings(signal: str | None, weight: float) -> EtlConfig:
    """Return the settings under which one signal counts, or none."""
    weights: dict[str, Any] = {"tool_error": -weight if signal == "tool_status" else 0.0}
    if signal not in (None, "tool_status", "progress"):
        weights[str(signal)] = weight
    return EtlConfig(complete_after=0, **weights)


def learn(task: str, signal: str | None, seed: int, nights: int, weight: float) -> list[float]:
    """Return the share of successes after every night."""
    play, num_states, num_actions = TASKS[task]
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 0.3, (num_states, num_actions))
    config, successes = settings(signal, weight), []
    for night in range(nights):
        policy = np.exp(logits - logits.max(1, keepdims=True))
        policy /= policy.sum(1, keepdims=True)

        def draw(state: int, policy: Floats = policy) -> int:
            return int(rng.choice(num_actions, p=policy[state]))

        attempts = [
            play(rng, seed * 10_000 + night * 100 + number, draw, f"{night}.{number}.{attempt}")
            for number in range(TASKS_A_NIGHT)
            for attempt in range(ATTEMPTS)
        ]
        logits += RATE * gradient(attempts, returns(attempts, config, signal, weight), policy)
        final = np.exp(logits - logits.max(1, keepdims=True))
        final /= final.sum(1, keepdims=True)

        def draw_final(state: int, policy: Floats = final) -> int:
            return int(rng.choice(num_actions, p=policy[state]))

        tried = [play(rng, 10**6 + number, draw_final, "x").outcome for number in range(150)]
        successes.append(float(np.mean(tried)))
    return successes


def returns(attempts: Sequence[Attempt], config: EtlConfig, signal: str | None, weight: float) -> list[list[float]]:
    """Return what the ETL makes of the attempts: the return of each call."""
    spans: list[Span] = []
    names = []
    for attempt in attempts:
        name = attempt.spans[0]["name"].split(" ")[0]
        names.append(attempt.spans[0]["trace_id"])
        spans += [span(f"{name} root", trace=name, end=99, events=[evaluation(attempt.outcome)]), *attempt.spans]
    rows = transform(spans_frame(spans), logs_frame(), config).tables["transitions"].sort("episode_id", "step")
    if signal == "progress":
        rows = with_progress(rows, weight)
    found: dict[str, list[float]] = {}
    for episode, value in rows.select("episode_id", "return_").iter_rows():
        found.setdefault(episode, []).append(value)
    return [found[name] for name in names]


def with_progress(rows: Any, weight: float) -> Any:  # noqa: ANN401 - frames
    """Return transitions with progress in their returns, as a whole run would add it."""
    from etl.rewards.combine import recombine
    from etl.runs.whole_run import measure_progress

    moved = measure_progress(rows.lazy(), 1.0)
    if moved is None:
        return rows
    joined = rows.join(moved, on=["project", "episode_id", "step"], how="left", maintain_order="left")
    return recombine(joined.with_columns(reward_progress=joined["_moved"] * weight), EtlConfig())


def gradient(attempts: Sequence[Attempt], returned: Sequence[list[float]], policy: Floats) -> Floats:
    """Return the policy gradient, each return less the mean first return of the other attempts at the task."""
    found = np.zeros_like(policy)
    firsts = np.array([values[0] for values in returned]).reshape(-1, ATTEMPTS)
    others = ((firsts.sum(1, keepdims=True) - firsts) / (ATTEMPTS - 1)).ravel()
    for attempt, values, baseline in zip(attempts, returned, others, strict=True):
        for state, action, value in zip(attempt.states, attempt.actions, values, strict=True):
            found[state] -= (value - baseline) * policy[state]
            found[state, action] += value - baseline
    return found / len(attempts)


def main() -> None:
    """Print a table for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--nights", type=int, default=8)
    parser.add_argument("--weight", type=float, help="of each signal; default: 0.1, of progress 1")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--signals", nargs="+", choices=SIGNALS, default=list(SIGNALS))
    args = parser.parse_args()
    for task in args.tasks:
        alone = np.array([learn(task, None, seed, args.nights, 0.0) for seed in range(args.seeds)])
        print(f"{task}: outcome alone: last {alone[:, -1].mean():.3f}, mean {alone.mean():.3f}", flush=True)
        for signal in args.signals:
            weight = SIGNALS[signal] if args.weight is None else args.weight
            own = np.array([learn(task, signal, seed, args.nights, weight) for seed in range(args.seeds)])
            gained = own.mean(1) - alone.mean(1)
            error = gained.std(ddof=1) / np.sqrt(len(gained)) if len(gained) > 1 else float("nan")
            print(
                f"{task}: {signal}: last {own[:, -1].mean():.3f}, mean {own.mean():.3f},"
                f" difference {gained.mean():+.3f} ± {error:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
