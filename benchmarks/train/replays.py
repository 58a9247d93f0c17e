"""How often replay is right about a better, an equal and a worse policy; no model is in it.

    python -m benchmarks.train.replays --seeds 40

Policies of Python calculate right with some probability. Each seed logs one of them at work on problems of the demo,
four attempts each, and replays itself, and another that is right less often, on the logged states.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any

from benchmarks.train.teachers import SWAPPED
from examples.teacher import calling

from episode import first_messages  # isort: skip - the example is a directory of scripts
from agent import evaluate  # isort: skip
from problems import Problem, generate  # isort: skip

from spanloop.replay.asking import Answer
from spanloop.replay.comparison import Verdict, compare
from spanloop.replay.messages import from_openai
from spanloop.replay.scoring import by_outcomes
from spanloop.replay.states import State, read_states
from spanloop.replay.trial import attempt, recorded
from tests.logged import publish, transition


class Policy:
    """A model that calculates right with some probability, else with another sign; the seed of a question decides."""

    def __init__(self, problems: dict[str, Problem], right: float) -> None:
        self.problems, self.right = problems, right

    def __call__(self, body: dict[str, Any]) -> Answer:
        """Answer as a chat API does."""
        last = body["messages"][-1]
        if last["role"] == "tool":
            return Answer(from_openai({"content": f"The answer is {last['content']}."}), "stop", 0.0, None)
        draw = random.Random(f"{body['seed']}/{self.right}")
        problem = self.problems[last["content"]]
        expression = problem.expression
        if draw.random() >= self.right:
            expression = expression.translate(SWAPPED if draw.random() < 0.5 else str.maketrans("+-*", "*+-"))
        return Answer(from_openai(calling("calculator", {"expression": expression}, number=1)), "tool_calls", 0.0, None)


def log(problems: Many[Problem], policy: Policy, *, attempts: int, seed: int) -> list[dict[str, Any]]:
    """Return the transitions of a policy at work."""
    rows = []
    for number, problem in enumerate(problems):
        for turn in range(attempts):
            name = f"{number}-{turn}"
            asked = [{**message, "text": message["content"]} for message in first_messages(problem)]
            body = {"messages": first_messages(problem), "seed": f"{seed}/{name}"}
            call = policy(body).message
            said = str(evaluate(call["tool_calls"][0]["arguments"]["expression"]))
            shown = [*asked, call, {"role": "tool", "text": said, "tool_call_id": call["tool_calls"][0]["id"]}]
            common: dict[str, Any] = {
                "episode_id": name, "task_id": problem.task_id, "outcome": float(said == str(problem.answer)),
                "split": "heldout", "evidence": "D", "prompt_token_ids": None, "response_token_ids": None,
                "behavior_logprobs": None, "trace_id": f"{number:016x}{turn:016x}", "params": "{}",
            }  # fmt: skip
            last = {"role": "assistant", "text": f"The answer is {said}.", "tool_calls": []}
            for step, (observation, action) in enumerate(((asked, call), (shown, last))):
                following = {"next_span_id": f"{name}/1"} if step == 0 else {}
                rows.append(
                    transition(
                        **common,
                        **following,
                        span_id=f"{name}/{step}",
                        step=step,
                        observation=json.dumps(observation),
                        action=json.dumps(action),
                    )
                )
    return rows


def run_replay(arguments: argparse.Namespace) -> None:
    """Replay a live policy, an equal and a worse one, over seeds, and count what was said of them."""
    within = worse = equal_refused = equal_better = 0
    for seed in range(arguments.seeds):
        problems = generate(arguments.tasks, split="heldout", seed=1000 + seed)
        by_text = {problem.text: problem for problem in problems}
        live, lesser = Policy(by_text, 0.7), Policy(by_text, 0.7 - arguments.loss)
        with tempfile.TemporaryDirectory() as place:
            data = publish(Path(place), log(problems, live, attempts=4, seed=seed))
            states: list[State] = read_states(data, tools_from="task")
        score = by_outcomes(states)
        logged, own = recorded(states, score), attempt(states, live, score, seed=seed)
        assert logged.mean is not None
        assert own.mean is not None
        within += logged.mean.low <= own.mean.mean <= logged.mean.high
        for candidate, which in ((live, "equal"), (lesser, "worse")):
            other = attempt(states, candidate, score, seed=seed + 10_000)
            found = compare(own.replays, other.replays, (own.scores, other.scores), seed=seed, margin=0.0)
            is_refused = found.verdict is Verdict.REFUSED
            worse += is_refused and which == "worse"
            equal_refused += is_refused and which == "equal"
            equal_better += which == "equal" and found.difference is not None and found.difference.low > 0
    print(
        f"of {arguments.seeds} seeds, {arguments.tasks} tasks of 4 attempts: the live policy's own replay within the "
        f"interval of what was logged {within}; one that is right {arguments.loss:g} less often found worse {worse}; "
        f"an equal one refused {equal_refused}, called better {equal_better}"
    )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--loss", type=float, default=0.15)
    run_replay(parser.parse_args())


if __name__ == "__main__":
    main()
