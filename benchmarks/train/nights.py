"""How much a night teaches: the demo's policy and problems, the real trainer and gate, and no servers in between.

    OMP_NUM_THREADS=1 python -m benchmarks.train.nights --nights 3 --seeds 1 2 3
    python -m benchmarks.train.nights --nights 1 --problems 64 --attempts 8 --set loss=ppo --set negative=1
    python -m benchmarks.train.nights --nights 2 --explain --set recipe=feedback

Episodes are sampled in process, in batches, and written as the transitions the ETL would publish; from there on nothing
is simulated. One line a night: reward of the logged episodes, success on 1024 held-out problems after it (one attempt
each, temperature 1; standard error 0.015), what the gate said, updates, distance, seconds. With `--explain` a judge has
said of every failed episode which expression and answer were right.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

EXAMPLE = Path(__file__).parents[2] / "examples" / "calculator"
sys.path.insert(0, str(EXAMPLE))

from episode import TOOLS, play  # noqa: E402 - the example is a directory of scripts
from problems import Problem, Split, generate  # noqa: E402
from warm_start import MAX_NEW_TOKENS, render  # noqa: E402

from foundation.errors import GateRefused  # noqa: E402
from foundation.report import RunReport  # noqa: E402
from tests.logged import publish, transition  # noqa: E402
from train.gate.evaluate import evaluate  # noqa: E402
from train.plan import make_plan, read_limits  # noqa: E402
from train.run import train  # noqa: E402
from train.schema import model_version, read_manifest  # noqa: E402
from train.settings import EvaluateConfig, TrainConfig  # noqa: E402

ROWS = 256
"""Conversations answered side by side."""


@dataclass(frozen=True)
class Recorded:
    """One answer, as a gateway would have recorded it."""

    episode: int
    prompt_ids: list[int]
    response_ids: list[int]
    logprobs: list[float]
    messages: list[dict[str, Any]]


class Sampler:
    """Answers conversations with a model at temperature 1 and records the calls."""

    def __init__(self, model: Path, *, seed: int) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._episodes: dict[int, int] = {}
        self.calls: list[Recorded] = []
        torch.manual_seed(seed)

    def complete(self, conversations: Many[Many[dict[str, Any]]]) -> list[str]:
        """Sample one answer a conversation. `play` grows conversations in place, so identity tells the episode."""
        for conversation in conversations:
            self._episodes.setdefault(id(conversation), len(self._episodes))
        answers: list[str] = []
        for begin in range(0, len(conversations), ROWS):
            answers += self._answer(conversations[begin : begin + ROWS])
        return answers

    @torch.no_grad()
    def _answer(self, conversations: Many[Many[dict[str, Any]]]) -> list[str]:
        prompts = [render(self._tokenizer, messages, generation=True) for messages in conversations]
        inputs = self._tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        end = self._tokenizer.eos_token_id
        output = self._model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            generation_config=GenerationConfig(
                max_new_tokens=MAX_NEW_TOKENS,
                eos_token_id=end,
                pad_token_id=self._tokenizer.pad_token_id,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                output_logits=True,
                return_dict_in_generate=True,
            ),
        )
        sampled = output.sequences[:, inputs["input_ids"].shape[1] :]  # (row, new token)
        distribution = torch.stack(output.logits, dim=1).float().log_softmax(-1)  # (row, new token, vocabulary)
        logprobs = distribution.gather(-1, sampled[..., None]).squeeze(-1)
        for row, conversation in enumerate(conversations):
            ids = sampled[row].tolist()
            length = ids.index(end) + 1 if end in ids else len(ids)
            prompt = inputs["input_ids"][row][inputs["attention_mask"][row] == 1]
            self.calls.append(
                Recorded(
                    self._episodes[id(conversation)],
                    prompt.tolist(),
                    ids[:length],
                    logprobs[row, :length].tolist(),
                    list(conversation),
                )
            )
        answers: list[str] = self._tokenizer.batch_decode(sampled, skip_special_tokens=True)
        return answers


def collect(model: Path, problems: Many[Problem], *, split: Split, seed: int) -> list[dict[str, Any]]:
    """Play one episode a problem and return its transitions."""
    sampler = Sampler(model, seed=seed)
    rewards = play(problems, sampler.complete)
    version = model_version(model)
    steps: dict[int, int] = {}
    rows = []
    for call in sampler.calls:
        step = steps[call.episode] = steps.get(call.episode, -1) + 1
        rows.append(
            transition(
                episode_id=f"{split}-{call.episode:06}",
                span_id=f"{split}-{call.episode:06}-{step}",
                step=step,
                start_ns=10 * step,
                end_ns=10 * step + 5,
                task_id=problems[call.episode].task_id,
                split=split,
                observation=json.dumps([as_published(message) for message in call.messages]),
                tools=json.dumps(TOOLS),
                prompt_token_ids=call.prompt_ids,
                response_token_ids=call.response_ids,
                behavior_logprobs=call.logprobs,
                policy_version=version,
                outcome=rewards[call.episode],
            )
        )
    return rows


def as_published(chat: dict[str, Any]) -> dict[str, Any]:
    """Turn a message that an agent sends into one of the transitions table."""
    functions = [(call["id"], call["function"]) for call in chat.get("tool_calls", ())]
    return {
        "role": chat["role"],
        "text": chat["content"] or "",
        **{name: chat[name] for name in ("tool_call_id",) if name in chat},
        "tool_calls": [
            {"id": id_, "name": function["name"], "arguments": json.loads(function["arguments"])}
            for id_, function in functions
        ],
    }


def explain(rows: Many[dict[str, Any]], problems: Many[Problem]) -> list[dict[str, Any]]:
    """Return what a judge who knows the answers says of the episodes that failed, as rewards of them."""
    failed = {row["episode_id"]: int(row["episode_id"][-6:]) for row in rows if not row["outcome"]}
    return [
        {
            "project": rows[0]["project"],
            "episode_id": episode,
            "judges": "episode",
            "name": "judge",
            "value": 0.0,
            "explanation": f"Right was {problems[number].expression}, which is {problems[number].answer}.",
            "used": True,
        }
        for episode, number in failed.items()
    ]


def success(model: Path) -> float:
    """Return the share of 1024 held-out problems solved in one attempt each."""
    return float(np.mean(play(generate(1024, split="heldout", seed=777), Sampler(model, seed=777).complete)))


def night(model: Path, data: Path, arguments: argparse.Namespace, *, seed: int, number: int) -> Path:
    """Log a day, train on it, judge the result, say in a line how it went, and return the checkpoint."""
    drawn = 1000 * seed + number
    problems = [
        problem
        for problem in generate(arguments.problems, split="train", seed=drawn)
        for _ in range(arguments.attempts)
    ]
    rows = collect(model, problems, split="train", seed=drawn)
    gate_problems = generate(arguments.gate_problems, split="heldout", seed=drawn)
    others = {"rewards": explain(rows, problems)} if arguments.explain else {}
    publish(data, [*rows, *collect(model, gate_problems, split="heldout", seed=drawn)], **others)
    settings = dict(setting.split("=", 1) for setting in arguments.set)
    config = TrainConfig.model_validate({"data": data, "model": model, "seed": seed, **settings})
    vocabulary_size, max_length = read_limits(model)
    report = RunReport("train run", {})
    began = time.process_time()
    checkpoint = train(config, make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length), report)
    seconds = time.process_time() - began
    assert checkpoint is not None
    _, gate = evaluate(EvaluateConfig(data=data, checkpoint=checkpoint))
    manifest = read_manifest(checkpoint)
    rewards = {row["episode_id"]: row["outcome"] for row in rows}
    print(
        f"seed {seed} night {number}: "
        f"reward {np.mean(list(rewards.values())):.3f}, held out {success(checkpoint):.3f}, "
        f"{gate['verdict']} ({gate['reason']}), {report.as_dict()['num_updates']} updates, "
        f"{manifest.metrics['kl_call']:.2f} nats a call, {seconds:.0f} CPU s",
        flush=True,
    )
    return checkpoint


def main() -> None:
    """Read the command line and live through the nights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--problems", type=int, default=256)
    parser.add_argument("--attempts", type=int, default=2)
    parser.add_argument("--gate-problems", type=int, default=256)
    parser.add_argument("--explain", action="store_true", help="a judge says what was wrong")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of `train run`")
    arguments = parser.parse_args()
    print(f"before: held out {success(EXAMPLE / 'policy'):.3f}", flush=True)
    for seed in arguments.seeds:
        model = EXAMPLE / "policy"
        with tempfile.TemporaryDirectory() as directory:
            for number in range(1, arguments.nights + 1):
                try:
                    model = night(model, Path(directory) / str(number), arguments, seed=seed, number=number)
                except GateRefused as refused:
                    print(f"seed {seed} night {number}: {refused.message.splitlines()[0]}", flush=True)
                    break


if __name__ == "__main__":
    main()
