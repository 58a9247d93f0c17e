"""What one night of defaults teaches on tasks nobody tuned for: real policy, real trainer, answers sampled in process.

    OMP_NUM_THREADS=1 python -m benchmarks.train.tasks --seeds 3
    OMP_NUM_THREADS=1 python -m benchmarks.train.tasks --tasks taste long --set negative=0 --set epochs=10

The demo's policy (0.94 M parameters) answers questions; what earns a reward has nothing to do with sums. A task is a
score of the answer's tokens and its prompt's; a night's reward is 1 where the score lies above the night's median, or a
higher quantile for a rare reward. So no task was there when the policy was made, and about half of the answers (or as
many as said) are good to begin with. Whatever the task, the same night: 768 prompts answered once at temperature 1,
trained with the defaults, then 1,024 prompts nobody saw, answered before and after.

Standard error of a success: 0.016; of a difference 0.022, z 2.33 at p = 0.01 one-sided.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "calculator"
sys.path.insert(0, str(EXAMPLE))

from episode import first_messages  # noqa: E402 - the example is a directory of scripts
from problems import generate  # noqa: E402
from warm_start import render  # noqa: E402

from foundation.errors import GateRefused  # noqa: E402
from foundation.report import RunReport  # noqa: E402
from tests.logged import publish, transition  # noqa: E402
from train.plan import make_plan, read_limits  # noqa: E402
from train.run import train  # noqa: E402
from train.schema import model_version, read_manifest  # noqa: E402
from train.settings import TrainConfig  # noqa: E402

UNSEEN = 1024
ROWS = 256
"""Prompts answered side by side."""

Score = Callable[[list[int], list[int]], float]


def _hash(*ids: int) -> float:
    """Return a number in 0..1 that ids decide, alike on every machine."""
    return (sum((index + 1) * each * 2654435761 for index, each in enumerate(ids)) % 65521) / 65521


@dataclass(frozen=True)
class Task:
    """What is rewarded, of how many sampled tokens at most."""

    score: Score
    max_new_tokens: int
    quantile: float = 0.5
    """Of the scores, above which an answer is good."""

    end_is_barred: bool = False
    """Answers have the very length of `max_new_tokens`: long ones, of a policy that would end sooner."""

    turns: int = 1
    """Calls of an episode; each is shown those before and asked the question once more. The score is of the first
    prompt and all that was answered."""


TASKS: dict[str, Task] = {
    "taste": Task(lambda _prompt, answer: float(np.mean([_hash(each) for each in answer])), 24),
    "short": Task(lambda _prompt, answer: -float(len(answer)), 24),
    "context": Task(lambda prompt, answer: float(np.mean([_hash(prompt[-9] % 5, each) for each in answer])), 24),
    "sound": Task(lambda _prompt, answer: float(np.mean([_hash(each, 11) for each in answer])), 24),
    "rare": Task(lambda _prompt, answer: float(np.mean([_hash(each, 7) for each in answer])), 24, quantile=0.9),
    "long": Task(lambda _prompt, answer: float(np.mean([_hash(each, 3) for each in answer])), 160, end_is_barred=True),
    "coin": Task(lambda _prompt, _answer: float(np.random.default_rng().random()), 24),
    "pairs": Task(lambda _prompt, answer: float(np.mean([_hash(*each, 5) for each in pairwise(answer)] or [0])), 24),
    "ending": Task(lambda _prompt, answer: float(np.mean([_hash(each, 23) for each in answer[-3:]])), 12, quantile=0.7),
    "turns": Task(lambda _prompt, answer: float(np.mean([_hash(each, 17) for each in answer])), 24, turns=2),
}
"""`taste`, `sound`: each token has a hidden value, the answer its mean. `short`: few tokens. `context`: the values are
others for every prompt's ninth word from the end. `rare`: taste, a tenth good. `long`: taste over 160 tokens. `coin`:
nothing; success is that of `taste`. Nothing was chosen by the last three: `pairs` rewards what is in the order of
tokens, `ending` in the last three of at most twelve, three in ten good, `turns` in both calls of an episode."""


@dataclass(frozen=True)
class Answered:
    """Prompts with what was sampled to each, one list a turn."""

    prompts: list[list[list[int]]]
    answers: list[list[list[int]]]
    logprobs: list[list[list[float]]]

    def scores(self, task: Task) -> np.ndarray:
        """Return the score of every episode."""
        said = [list(chain(*turns)) for turns in zip(*self.answers, strict=True)]
        return np.array([task.score(*each) for each in zip(self.prompts[0], said, strict=True)])


@torch.no_grad()
def answer(model: Path, task: Task, number: int, *, split: str, seed: int, sampling: dict[str, Any]) -> Answered:
    """Answer questions of one split with a model."""
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    questions = generate(number, split=split, seed=seed)  # type: ignore[arg-type]
    texts = [render(tokenizer, first_messages(each), generation=True) for each in questions]
    torch.manual_seed(seed)
    prompts: list[list[int]] = [tokenizer(text)["input_ids"] for text in texts]
    asked, found = prompts, Answered([], [], [])
    for _ in range(task.turns):
        answers, logprobs = _sample(policy, tokenizer, prompts, task, sampling)
        for all_of_turn, one in zip(
            (found.prompts, found.answers, found.logprobs), (prompts, answers, logprobs), strict=True
        ):
            all_of_turn.append(one)  # type: ignore[arg-type]
        prompts = [[*before, *said, *again] for before, said, again in zip(prompts, answers, asked, strict=True)]
    return found


def _sample(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    task: Task,
    sampling: dict[str, Any],
) -> tuple[list[list[int]], list[list[float]]]:
    """Sample one answer to every prompt; return them with their log-probabilities."""
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    answers, logprobs = list[list[int]](), list[list[float]]()
    config = GenerationConfig(
        max_new_tokens=task.max_new_tokens,
        min_new_tokens=task.max_new_tokens if task.end_is_barred else None,
        eos_token_id=end,
        pad_token_id=pad,
        do_sample=True,
        output_scores=True,
        return_dict_in_generate=True,
        **{"temperature": 1.0, "top_k": 0, "top_p": 1.0} | sampling,
    )
    for begin in range(0, len(prompts), ROWS):
        inputs = tokenizer.pad({"input_ids": prompts[begin : begin + ROWS]}, return_tensors="pt", padding_side="left")
        output = policy.generate(**inputs, generation_config=config)
        sampled = output.sequences[:, inputs["input_ids"].shape[1] :]
        known = torch.stack(output.scores, dim=1).float().log_softmax(-1).gather(-1, sampled[..., None]).squeeze(-1)
        for row in range(len(sampled)):
            ids = sampled[row].tolist()
            length = ids.index(end) + 1 if end in ids else len(ids)
            answers.append(ids[:length])
            logprobs.append(known[row, :length].tolist())
    return answers, logprobs


@dataclass(frozen=True)
class Night:
    """What was logged of a task."""

    data: Path
    judge: Task
    bar: float
    """Score above which an answer is good."""

    share: float
    """Of the answers that were good."""

    mean_tokens: float


def log_night(name: str, model: Path, directory: Path, *, episodes: int, seed: int, sampling: dict[str, Any]) -> Night:
    """Answer a night's prompts and publish what came of it."""
    task = TASKS[name]
    judge = TASKS["taste"] if name == "coin" else task
    logged = answer(model, task, episodes, split="train", seed=seed, sampling=sampling)
    scores = np.random.default_rng(seed).random(episodes) if name == "coin" else logged.scores(task)
    good = scores > np.quantile(scores, task.quantile)
    version = model_version(model)
    data = publish(
        directory,
        [
            transition(
                episode_id=f"{index:05}",
                span_id=f"{index:05}-{turn}",
                task_id=f"{index:05}",
                step=turn,
                start_ns=10 * turn,
                end_ns=10 * turn + 5,
                prompt_token_ids=logged.prompts[turn][index],
                response_token_ids=logged.answers[turn][index],
                behavior_logprobs=logged.logprobs[turn][index],
                policy_version=version,
                outcome=float(good[index]),
                temperature=sampling.get("temperature", 1.0),
                top_p=sampling.get("top_p", 1.0),
                top_k=sampling.get("top_k", 0),
                min_p=sampling.get("min_p", 0.0),
            )
            for index in range(episodes)
            for turn in range(task.turns)
        ],
    )
    return Night(
        data,
        judge,
        float(np.quantile(logged.scores(judge), judge.quantile)),
        float(good.mean()),
        float(np.mean([len(each) for turn in logged.answers for each in turn])),
    )


def night(name: str, model: Path, directory: Path, *, episodes: int, seed: int, settings: dict[str, Any],
          sampling: dict[str, Any]) -> str:  # fmt: skip
    """Live through one night of a task and say in a line what came of it."""
    task = TASKS[name]
    logged = log_night(name, model, directory, episodes=episodes, seed=seed, sampling=sampling)
    judge, bar = logged.judge, logged.bar
    before = (answer(model, task, UNSEEN, split="heldout", seed=777, sampling=sampling).scores(judge) > bar).mean()
    config = TrainConfig.model_validate({"data": logged.data, "model": model, "seed": seed, **settings})
    vocabulary_size, max_length = read_limits(model)
    report = RunReport("train run", {})
    began = time.process_time()
    said = f"{name:7} seed {seed}: {logged.share:.2f} of {episodes} good, {logged.mean_tokens:.0f} tokens, "
    try:
        checkpoint = train(config, make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length), report)
    except GateRefused as refused:
        return said + refused.message.splitlines()[0]
    assert checkpoint is not None
    seconds = time.process_time() - began
    unseen = answer(checkpoint, task, UNSEEN, split="heldout", seed=778, sampling=sampling)
    after = (unseen.scores(judge) > bar).mean()
    error = float(np.sqrt((before * (1 - before) + after * (1 - after)) / UNSEEN))
    manifest = read_manifest(checkpoint)
    return said + (
        f"unseen {before:.3f} -> {after:.3f} ({after - before:+.3f}, z {(after - before) / error:+.1f}), "
        f"{report.as_dict()['num_updates']} updates, {manifest.metrics['kl_call']:.2f} nats a call, "
        f"rate {manifest.metrics['learning_rate']:.1e}, {seconds:.0f} CPU s"
    )


def main() -> None:
    """Read the command line and live through the nights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=768)
    parser.add_argument("--model", type=Path, default=EXAMPLE / "policy")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of `train run`")
    parser.add_argument("--sampling", action="append", default=[], metavar="NAME=VALUE", help="top_p, top_k, min_p, …")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = dict(each.split("=", 1) for each in arguments.set)
    sampling = {name: int(value) if name == "top_k" else float(value) for name, value in
                (each.split("=", 1) for each in arguments.sampling)}  # fmt: skip
    for name in arguments.tasks:
        for seed in range(1, arguments.seeds + 1):
            with tempfile.TemporaryDirectory() as directory:
                print(
                    night(name, arguments.model, Path(directory) / "data", episodes=arguments.episodes, seed=seed,
                          settings=settings, sampling=sampling),
                    flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main()
