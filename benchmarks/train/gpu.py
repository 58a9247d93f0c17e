"""Tokens a second and model FLOPs utilisation of updates on a GPU: Qwen3 shapes with random weights, full and LoRA.

    python -m benchmarks.train.gpu                                   # 0.6 B and 4 B, full and LoRA, 16 k tokens
    python -m benchmarks.train.gpu --shape 0.6b --adapter none --tokens 65536
    python -m benchmarks.train.gpu --shape toy --tokens 512 --steps 2   # anywhere, to see that it runs

An update is one forward and backward pass over `--tokens` tokens in sequences of `--length`, of which a quarter is
trained, clipping, and one AdamW step; metrics are gathered as in a run. Timed with the wall clock, when the device is
through. The anchors are prime-rl's published 11.9 k tokens/s at 11 % for 0.6 B full and 6.2 k at 22 % for 4 B LoRA, on
one H100 at 16 k tokens.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from transformers import Qwen3Config, Qwen3ForCausalLM

from tests.fakes import byte_tokenizer
from tests.logged import publish, transition
from train.engine.adapters import attach
from train.engine.learner import Learner
from train.engine.policy import SampledTokens, load_policy, save_activations
from train.engine.update import accumulate
from train.metrics.flops import peak_flops, update_flops
from train.plan import make_plan, read_limits
from train.settings import TrainConfig

SHAPES = {
    "toy": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    "0.6b": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
    "4b": {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32},
}
"""As in the config.json files of Qwen3; both tie embeddings and head."""

VOCABULARY = 151_936


def write_model(path: Path, shape: str) -> Path:
    """Write a model directory with random weights in bfloat16."""
    byte_tokenizer(path)
    config = Qwen3Config(
        **SHAPES[shape],
        num_key_value_heads=2 if shape == "toy" else 8,
        head_dim=16 if shape == "toy" else 128,
        vocab_size=1024 if shape == "toy" else VOCABULARY,
        max_position_embeddings=131_072,
        tie_word_embeddings=True,
        dtype=torch.bfloat16,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen3ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(path)
    return path


def episodes(num_tokens: int, length: int) -> list[dict[str, object]]:
    """Return single-turn episodes, the last quarter of each sampled; two attempts a task, one of them rewarded."""
    rng = np.random.default_rng(0)
    count = max(2, num_tokens // length)
    sampled = length // 4
    return [
        transition(
            episode_id=str(index),
            span_id=str(index),
            task_id=str(index // 2),
            prompt_token_ids=rng.integers(0, 256, length - sampled).tolist(),
            response_token_ids=rng.integers(0, 256, sampled).tolist(),
            behavior_logprobs=[-10.0] * sampled,
            outcome=float(index % 2),
        )
        for index in range(count)
    ]


def measure(shape: str, adapter: str, arguments: argparse.Namespace) -> None:
    """Print one line: rate, utilisation, memory."""
    is_gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as directory:
        model = write_model(Path(directory) / "model", shape)
        config = TrainConfig(
            data=publish(Path(directory) / "data", episodes(arguments.tokens, arguments.length)),
            model=model,
            credit="return_to_go",
            baseline="leave_one_out",
            negative=1.0,
            shrinkage=0.0,
            min_episodes=1,
            min_informative=1,
            tokens_per_batch=arguments.tokens,
        )
        vocabulary_size, max_length = read_limits(model)
        plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
        accelerator = Accelerator(cpu=not is_gpu, mixed_precision="bf16")
        half = adapter == "lora"
        policy = load_policy(model, dtype=torch.bfloat16 if half else torch.float32)
    if half:
        attach(policy, config)
    if not arguments.keep_activations:
        save_activations(policy)
    policy.to(accelerator.device)
    optimizer = torch.optim.AdamW([weight for weight in policy.parameters() if weight.requires_grad], lr=1e-6)
    tokens, optimizer = accelerator.prepare(SampledTokens(policy), optimizer)
    learner = Learner(accelerator, tokens, optimizer, plan, config)
    sequences = plan.sequences
    num_trained = sum(sequence.num_trained for sequence in sequences)
    seconds = []
    for step in range(arguments.steps + 2):
        began = time.monotonic()
        accumulate(learner, sequences, denominator=float(num_trained))
        accelerator.clip_grad_norm_(learner.weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if is_gpu:
            torch.cuda.synchronize()
        if step >= 2:  # the first two warm up
            seconds.append(time.monotonic() - began)
    median = statistics.median(seconds)
    lengths = [len(sequence.ids) for sequence in sequences]
    flops = update_flops(policy, lengths, num_trained)
    peak = peak_flops(accelerator.device)
    mfu = "unknown device" if peak is None else f"MFU {flops / median / peak:.1%}"
    memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if is_gpu else "not measured"
    rate, work = sum(lengths) / median, flops / median / 1e12
    print(
        f"{shape} {'LoRA' if half else 'full'}: {sum(lengths)} tokens of {len(lengths)} sequences, {median:.3f} s an "
        f"update, {rate:.0f} tokens/s, {work:.2f} TFLOP/s, {mfu}, memory {memory}",
        flush=True,
    )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=["0.6b", "4b"])
    parser.add_argument("--adapter", choices=["none", "lora"], nargs="+", default=["none", "lora"])
    parser.add_argument("--tokens", type=int, default=16_384, help="tokens of an update, in one forward pass")
    parser.add_argument("--length", type=int, default=4_096, help="tokens of a sequence")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--keep-activations", action="store_true", help="without gradient checkpointing")
    arguments = parser.parse_args()
    for shape in arguments.shape:
        for adapter in arguments.adapter:
            measure(shape, adapter, arguments)
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
