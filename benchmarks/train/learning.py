"""Whether training learns, and what credit is worth: a tool game played by a tiny transformer, on one CPU thread.

    OMP_NUM_THREADS=1 python -m benchmarks.train.learning --seeds 10
    OMP_NUM_THREADS=1 python -m benchmarks.train.learning --seeds 3 --set gae_lambda=1

The player is shown a task and answers one token a call. Every task has a tool of its own: calling it is useful, any
other tool fails, and an answer ends the episode. The answer is right more often the more useful calls came before it,
and on the way a useful call earns a little and a failed one costs less (what an ETL reads off a trace). A night is 256
episodes, published as the ETL would publish them, planned and trained by the real trainer. Curves are the expected
success of the policy after each night, computed over all that can happen, any failed tool taken for the likeliest one:
no sampling noise is in them.

Runs: `gae` (values, intermediate rewards), `return_to_go`, `identical` (the outcome alone, alike for all calls of an
episode), and `random` (gae, no intermediate rewards, outcomes drawn by a coin). Differences are paired by seed, with a
95 % bootstrap interval.
"""

import argparse
import tempfile
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging as transformers_logging

from tests.logged import publish, transition
from train.engine.learner import Learner
from train.engine.policy import SampledTokens, load_policy
from train.loop import learn
from train.plan import make_plan
from train.settings import TrainConfig

TASKS = 4
"""Tokens 0 to 3 name a task; 4 to 7 are the tools, 4 + i that of task i."""

ANSWER = 2 * TASKS
WORKED, FAILED = ANSWER + 1, ANSWER + 2
VOCABULARY = ANSWER + 3
TURNS = 6
CHANCE = (0.0, 0.3, 0.6, 0.95)
"""Of an answer to be right after none, one, two, and three or more useful calls."""

PROGRESS = 0.1
"""Intermediate reward of a useful call."""

FAILURE = -0.02
"""Intermediate reward of a call whose tool failed."""

RUNS: dict[str, dict[str, Any]] = {
    "gae": {},
    "return_to_go": {"credit": "return_to_go", "baseline": "leave_one_out"},
    "identical": {"credit": "identical", "baseline": "leave_one_out"},
    "random": {"air": 0.0},
}
COMMON: dict[str, Any] = {
    "negative": 1.0,
    "epochs": 1,
    "episodes_per_update": 64,
    "learning_rate": 3e-3,
    "kl_budget": 5.0,
    "min_episodes": 1,
    "min_informative": 1,
    "tokens_per_batch": 4096,
}
"""Fresh episodes every night and one pass over them: both signs of the advantage, and no budget to hit."""


def new_model(path: Path, *, seed: int) -> Path:
    """Write a model directory with random weights: two layers, 32 wide."""
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=32,
        tie_word_embeddings=False,
        eos_token_id=None,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        Qwen3ForCausalLM(config).save_pretrained(path)
    return path


@torch.no_grad()
def next_logprobs(policy: PreTrainedModel, prompts: Many[Many[int]]) -> torch.Tensor:
    """Return (prompt, token) log-probabilities of the next token; prompts are of one length."""
    logprobs: torch.Tensor = policy(input_ids=torch.tensor(prompts)).logits[:, -1].float().log_softmax(-1)
    return logprobs


def is_useful(task: int, action: int) -> bool:
    """Tell whether an action is the task's own tool."""
    return action == TASKS + task


def chance(useful: int) -> float:
    """Return the chance that an answer is right."""
    return CHANCE[min(useful, len(CHANCE) - 1)]


def success(policy: PreTrainedModel) -> float:
    """Return the probability of success over all tasks: by the distribution over what a task can have come to.

    Tools other than the task's own fail alike, but the policy sees which it was; the tree over all of them is walked
    with the two that matter, useful and not, the failed tool standing for the likeliest one.
    """
    total = 0.0
    states = [(1.0, [task], task, 0) for task in range(TASKS)]
    for _ in range(TURNS):
        logprobs = next_logprobs(policy, [prompt for _, prompt, _, _ in states]).exp().double().numpy()
        following = []
        for (reached, prompt, task, useful), odds in zip(states, logprobs, strict=True):
            total += reached * odds[ANSWER] * chance(useful)
            others = odds.copy()
            others[[ANSWER, TASKS + task]] = 0
            likeliest = int(others.argmax())
            worked = [*prompt, TASKS + task, WORKED]
            failed = [*prompt, likeliest, FAILED]
            following.append((reached * odds[TASKS + task], worked, task, useful + 1))
            following.append((reached * others.sum(), failed, task, useful))
        states = following
    return total / TASKS


def play(
    policy: PreTrainedModel, num_episodes: int, rng: np.random.Generator, *, is_random: bool = False
) -> list[dict[str, Any]]:
    """Play episodes side by side and return their transitions; with `is_random` a coin decides the outcome."""
    tasks = rng.integers(TASKS, size=num_episodes)
    prompts = [[int(task)] for task in tasks]
    useful = np.zeros(num_episodes, dtype=int)
    outcomes = np.zeros(num_episodes)
    rows: list[list[dict[str, Any]]] = [[] for _ in range(num_episodes)]
    alive = list(range(num_episodes))
    for turn in range(TURNS):
        if not alive:
            break
        logprobs = next_logprobs(policy, [prompts[index] for index in alive]).double().numpy()
        still = []
        for index, known in zip(alive, logprobs, strict=True):
            odds = np.exp(known)
            action = int(rng.choice(VOCABULARY, p=odds / odds.sum()))
            worked = is_useful(int(tasks[index]), action)
            rows[index].append(
                transition(
                    episode_id=f"{index:05}",
                    span_id=f"{index:05}-{turn}",
                    task_id=str(tasks[index]),
                    step=turn,
                    start_ns=10 * turn,
                    end_ns=10 * turn + 5,
                    prompt_token_ids=list(prompts[index]),
                    response_token_ids=[action],
                    behavior_logprobs=[float(known[action])],
                    reward_progress=PROGRESS if worked else None,
                    reward_tool_status=None if action == ANSWER or worked else FAILURE,
                )
            )
            if action == ANSWER:
                outcomes[index] = rng.random() < chance(int(useful[index]))
                continue
            useful[index] += worked
            prompts[index] += [action, WORKED if worked else FAILED]
            still.append(index)
        alive = still
    if is_random:
        outcomes = (rng.random(num_episodes) < 0.5).astype(float)
    return [row | {"outcome": float(outcomes[index])} for index, episode in enumerate(rows) for row in episode]


@dataclass(frozen=True)
class Curve:
    """Expected success before the first night and after each."""

    success: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Mean over the nights: the area under the curve per night."""
        return float(self.success.mean())


def curve(name: str, *, seed: int, nights: int, episodes: int, settings: dict[str, Any]) -> Curve:
    """Live through the nights of one run; the same seed begins with the same model."""
    with tempfile.TemporaryDirectory() as directory:
        model = new_model(Path(directory) / "model", seed=seed)
        policy = load_policy(model)
        optimizer = torch.optim.AdamW(policy.parameters(), lr=COMMON["learning_rate"], weight_decay=0.0)
        rng = np.random.default_rng(seed)
        found = [success(policy)]
        for night in range(nights):
            data = publish(Path(directory) / str(night), play(policy, episodes, rng, is_random=name == "random"))
            config = TrainConfig.model_validate(
                {"data": data, "model": model, "seed": seed, **COMMON, **RUNS[name], **settings}
            )
            plan = make_plan(config, vocabulary_size=VOCABULARY, max_length=32)
            learner = Learner(Accelerator(cpu=True), SampledTokens(policy), optimizer, plan, config)
            learn(learner, lambda _line: None)
            found.append(success(policy))
        return Curve(np.array(found))


def interval(differences: NDArray[np.float64], *, resamples: int = 10_000) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean of paired differences."""
    rng = np.random.default_rng(0)
    means = rng.choice(differences, size=(resamples, len(differences))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Read the command line, run every seed of every run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--nights", type=int, default=16)
    parser.add_argument("--episodes", type=int, default=256)
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of `train run`")
    arguments = parser.parse_args()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(1)
    settings = dict(setting.split("=", 1) for setting in arguments.set)
    areas: dict[str, NDArray[np.float64]] = {}
    for name in arguments.runs:
        curves = [
            curve(name, seed=seed, nights=arguments.nights, episodes=arguments.episodes, settings=settings)
            for seed in range(arguments.seeds)
        ]
        areas[name] = np.array([each.area for each in curves])
        last = np.array([each.success[-1] for each in curves])
        print(
            f"{name:13} before {np.mean([each.success[0] for each in curves]):.3f}, after {last.mean():.3f} "
            f"(lowest {last.min():.3f}, highest {last.max():.3f}), area {areas[name].mean():.3f}",
            flush=True,
        )
    for name in areas:
        if name != "gae" and "gae" in areas:
            difference = areas["gae"] - areas[name]
            low, high = interval(difference)
            print(f"gae - {name:13} area {difference.mean():+.4f} in [{low:+.4f}, {high:+.4f}]")


if __name__ == "__main__":
    main()
