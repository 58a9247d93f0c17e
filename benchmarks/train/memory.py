"""What a run is said to take in memory, beside what it takes: two updates at several sizes, each in its own process.

    OMP_NUM_THREADS=1 python -m benchmarks.train.memory --model build/models/smollm2-135m-instruct

And the table for shapes that are not at hand: their numbers follow from their configuration alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import Qwen3Config

from benchmarks.train.speed import resident
from tests.logged import publish, transition
from train.engine.update import update
from train.equipment import make_learner, open_policy
from train.gate.distance import copy_weights
from train.memory import footprint
from train.plan import make_plan, read_limits
from train.settings import TrainConfig

CASES: list[dict[str, Any]] = [
    {},
    {"optimizer": "adamw"},
    {"gradient_checkpointing": True},
    {"adapter": "lora"},
    {"adapter": "lora", "gradient_checkpointing": True},
]

SHAPES = {
    "135 M (SmolLM2)": None,
    "0.6 B (Qwen3)": Qwen3Config(
        hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8,
        head_dim=128, vocab_size=151_936, tie_word_embeddings=True,
    ),
    "4 B (Qwen3)": Qwen3Config(
        hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8,
        head_dim=128, vocab_size=151_936, tie_word_embeddings=True,
    ),
}  # fmt: skip


def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tokens", type=int, nargs="+", default=[256, 1024, 2048])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        _measure(arguments.model, json.loads(arguments.one))
        return
    print("settings, tokens in a pass: said, measured (GiB), measured / said")
    for case in CASES:
        for tokens in arguments.tokens:
            one = json.dumps({"tokens": tokens, "settings": case})
            command = [sys.executable, "-m", "benchmarks.train.memory", f"--model={arguments.model}", "--one", one]
            subprocess.run(command, check=True)
    print(
        "\nmodel: GiB at 1024 tokens in a pass: full, checkpointed, LoRA, LoRA checkpointed; then in bfloat16 on a GPU"
    )
    with tempfile.TemporaryDirectory() as scratch:
        for name, shape in SHAPES.items():
            model = arguments.model
            if shape is not None:
                model = Path(scratch, name)
                shape.save_pretrained(model)
            found = [
                footprint(TrainConfig(model=model, **case), device_type="cuda" if is_half else "cpu", is_half=is_half)
                for is_half in (False, True)
                for case in CASES
                if "optimizer" not in case
            ]
            print(name, *(f"{each.total(1024) / 2**30:.1f}" for each in found))


def _measure(model: Path, one: dict[str, Any]) -> None:
    tokens = one["tokens"]
    length = min(256, tokens // 2)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(tokens // length):
        ids = rng.integers(3, 200, length).tolist()
        name = str(number)
        rows.append(
            transition(
                episode_id=name, span_id=name, task_id=name, prompt_token_ids=ids[: length // 2],
                response_token_ids=ids[length // 2 :], behavior_logprobs=[-9.0] * (length - length // 2),
                outcome=float(number % 2),
            )
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        config = TrainConfig(
            data=publish(Path(scratch, "data"), rows), model=model, min_episodes=1, min_informative=1, loss="ppo",
            baseline="none", credit="return_to_go", tokens_per_batch=tokens, **one["settings"],
        )  # fmt: skip
        vocabulary_size, max_length = read_limits(model)
        plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
        torch.set_num_threads(1)
        accelerator = Accelerator(cpu=True)
        learner = make_learner(accelerator, open_policy(config, accelerator), plan, config)
        learner.prepare()
        start = copy_weights(learner)
        for _ in range(2):
            update(learner, plan.sequences, denominator=1.0)
        end = copy_weights(learner)
    said = footprint(config, device_type="cpu", is_half=False).total(tokens)
    peak = resident("VmHWM")
    del start, end
    print(f"{one['settings']}, {tokens}: {said / 2**30:.2f}, {peak / 2**30:.2f}, {peak / said:.2f}", flush=True)


if __name__ == "__main__":
    main()
