"""How fast an update is and what it holds in memory: beside TRL, merged beside per call, by size of vocabulary.

    OMP_NUM_THREADS=1 python -m benchmarks.train.speed trl        # beside TRL's GRPOTrainer on the same logged batch
    OMP_NUM_THREADS=1 python -m benchmarks.train.speed merge      # ten-turn traces, merged and call by call
    OMP_NUM_THREADS=1 python -m benchmarks.train.speed share      # attempts that share their prompt, and one by one
    OMP_NUM_THREADS=1 python -m benchmarks.train.speed memory     # peak memory with 4 k to 256 k ids

Models have random weights, unless `--model` names one. Contestants take turns in one process, and rates are of its CPU
time, which other work on the machine disturbs less than the clock. Every comparison first checks that both sides make
the same gradient.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import Qwen3Config, Qwen3ForCausalLM

from tests.fakes import byte_tokenizer
from tests.logged import publish, transition
from train.data.lineage import Sequence, build_sequences
from train.engine.learner import Learner
from train.engine.policy import SampledTokens, load_policy
from train.engine.update import accumulate
from train.plan import Plan, make_plan, read_limits
from train.settings import TrainConfig

ROWS = 8
"""Sequences in a micro-batch of TRL's; ours hold as many tokens as TRL's do."""

GROUP = 8
VOCABULARIES = (4_096, 16_384, 65_536, 262_144)


def write_model(path: Path, *, vocabulary: int, hidden: int = 128, layers: int = 4) -> Path:
    """Write a model directory with random weights: qwen3, untied."""
    byte_tokenizer(path)
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(path)
    return path


def learner(model: Path, rows: list[dict[str, Any]], *, tokens_per_batch: int, data: Path | None = None) -> Learner:
    """Return a learner over rows, by the plan a run would make of them; the loss is TRL's default token loss."""
    config = TrainConfig(
        data=publish(Path(tempfile.mkdtemp(dir=data or model.parent)) / "data", rows),
        model=model,
        loss="dapo",
        credit="return_to_go",
        baseline="leave_one_out",
        negative=1.0,
        shrinkage=0.0,
        min_episodes=1,
        min_informative=1,
        tokens_per_batch=tokens_per_batch,
    )
    vocabulary_size, max_length = read_limits(model)
    plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
    policy = load_policy(model)
    torch.set_num_threads(1)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-6)
    return Learner(Accelerator(cpu=True), SampledTokens(policy), optimizer, plan, config)


def single_turn(rng: np.random.Generator, vocabulary: int, *, num_tasks: int, uniform: bool) -> list[dict[str, Any]]:
    """Return single-turn episodes, `GROUP` a task; lengths are lognormal as of chats (median 180 + 60) or all alike."""

    def length(median: float, least: int, most: int) -> int:
        return int(median) if uniform else int(np.clip(rng.lognormal(np.log(median), 0.7), least, most))

    rows = []
    for task in range(num_tasks):
        prompt = rng.integers(0, 256, length(180, 40, 800)).tolist()
        answers = [rng.integers(0, 256, length(60, 8, 400)).tolist() for _ in range(GROUP)]
        rows += group_of(task, prompt, answers, vocabulary)
    return rows


def group_of(task: int, prompt: list[int], answers: list[list[int]], vocabulary: int) -> list[dict[str, Any]]:
    """Return attempts at one task, every other rewarded, each token as likely as any."""
    return [
        transition(
            episode_id=f"{task}-{attempt}",
            span_id=f"{task}-{attempt}",
            task_id=str(task),
            prompt_token_ids=prompt,
            response_token_ids=answer,
            behavior_logprobs=[-float(np.log(vocabulary))] * len(answer),
            outcome=float(attempt % 2),
        )
        for attempt, answer in enumerate(answers)
    ]


def multi_turn(rng: np.random.Generator, vocabulary: int, *, num_traces: int) -> list[dict[str, Any]]:
    """Return traces of ten turns: 200 ids of task, then 20 of answer and 50 of tool result a turn."""
    rows = []
    for trace in range(num_traces):
        context = rng.integers(0, 256, 200).tolist()
        for step in range(10):
            answer = rng.integers(0, 256, 20).tolist()
            rows.append(
                transition(
                    episode_id=str(trace),
                    span_id=f"{trace}-{step}",
                    task_id=str(trace // 2),
                    step=step,
                    start_ns=10 * step,
                    end_ns=10 * step + 5,
                    prompt_token_ids=list(context),
                    response_token_ids=answer,
                    behavior_logprobs=[-float(np.log(vocabulary))] * 20,
                    outcome=float(trace % 2),
                )
            )
            context += [*answer, *rng.integers(0, 256, 50).tolist()]
    return rows


def gradient(weights: list[torch.Tensor]) -> torch.Tensor:
    """Return the flat gradient and clear it."""
    flat = torch.cat([weight.grad.flatten() for weight in weights])
    for weight in weights:
        weight.grad = None
    return flat


def take_turns(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Run all contestants in every round, in turning order, and return the CPU seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        names = list(contestants)
        for name in names if turn % 2 else reversed(names):
            began = time.process_time()
            contestants[name]()
            if turn:  # the first round warms up
                seconds[name].append(time.process_time() - began)
    return seconds


def report(seconds: dict[str, list[float]], num_tokens: int, *, ours: str, theirs: str) -> None:
    """Print rates and the paired ratio."""
    for name, found in seconds.items():
        median = statistics.median(found)
        print(f"  {name:28} {median:7.2f} CPU s an update, {num_tokens / median:7.0f} trained tokens/CPU s")
    ratios = [theirs / ours for ours, theirs in zip(seconds[ours], seconds[theirs], strict=True)]
    print(f"  ratio {statistics.median(ratios):.2f} (of {len(ratios)} rounds, {min(ratios):.2f} to {max(ratios):.2f})")


# --- beside TRL


def beside_trl(arguments: argparse.Namespace) -> None:
    """Compare whole updates: forward, loss, metrics, backward, clipping, optimiser."""
    for uniform in (False, True):
        with tempfile.TemporaryDirectory() as directory:
            rng = np.random.default_rng(0)
            model = write_model(Path(directory) / "model", vocabulary=arguments.vocabulary)
            rows = single_turn(rng, arguments.vocabulary, num_tasks=arguments.tasks, uniform=uniform)
            longest = max(len(row["prompt_token_ids"]) + len(row["response_token_ids"]) for row in rows)
            ours = learner(model, rows, tokens_per_batch=ROWS * longest)
            trainer = trl_trainer(model, Path(directory))
            batches = trl_batches(ours.plan)
            num_tokens = sum(sequence.num_trained for sequence in ours.plan.sequences)
            difference = compare(ours, trainer, batches, num_tokens)
            padded = sum(batch["prompt_ids"].numel() + batch["completion_ids"].numel() for batch in batches)
            print(
                f"{len(rows)} calls {'of one length' if uniform else 'of many lengths'}, {num_tokens} trained tokens, "
                f"{sum(len(each.ids) for each in ours.plan.sequences)} in all, {padded} as TRL pads them; "
                f"vocabulary {arguments.vocabulary}; relative difference of gradients {difference:.1e}"
            )
            seconds = take_turns(
                {
                    "TRL GRPOTrainer": lambda: trl_update(trainer, batches),  # noqa: B023 - run within the loop
                    "spanloop": lambda: update(ours, ours.plan.sequences, num_tokens),  # noqa: B023
                },
                arguments.rounds,
            )
            report(seconds, num_tokens, ours="spanloop", theirs="TRL GRPOTrainer")


def update(ours: Learner, sequences: list[Sequence], num_tokens: int) -> None:
    """Make one update of ours."""
    accumulate(ours, sequences, denominator=float(num_tokens))
    ours.accelerator.clip_grad_norm_(ours.weights, 1.0)
    ours.optimizer.step()
    ours.optimizer.zero_grad()


def trl_trainer(model: Path, directory: Path) -> Any:  # noqa: ANN401 - TRL's trainer
    """Return TRL's trainer over the same weights; what it would generate is handed to it instead."""
    from datasets import Dataset
    from trl import import_utils

    import_utils.is_vllm_available = lambda *_arguments, **_named: False
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    settings = GRPOConfig(
        output_dir=str(directory / "trl"),
        per_device_train_batch_size=ROWS,
        gradient_accumulation_steps=1,  # the loop over micro-batches is here
        num_generations=GROUP,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        learning_rate=1e-6,
        epsilon=0.2,
        epsilon_high=0.28,
        beta=0.0,
        loss_type="dapo",
        report_to=[],
        disable_tqdm=True,
    )
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": ["x"] * ROWS}),
        processing_class=PreTrainedTokenizerFast(
            tokenizer_file=str(model / "tokenizer.json"), eos_token="<|end|>", pad_token="<|pad|>"
        ),
    )
    trainer._prepare_inputs = lambda inputs: inputs  # noqa: SLF001 - where it would generate
    trainer.create_optimizer()
    trainer.model.eval()  # no dropout on either side
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def trl_batches(plan: Plan) -> list[dict[str, Any]]:
    """Return micro-batches as TRL lays them out: prompts padded left, answers right, to the longest of all."""
    calls = plan.logged.calls
    widest = max(len(call.prompt_ids) for call in calls), max(len(call.response_ids) for call in calls)
    num_tokens = sum(len(call.response_ids) for call in calls)
    shuffled = np.random.default_rng(0).permutation(len(calls))

    def padded(arrays: list[np.ndarray], width: int, *, left: bool, fill: float = 0) -> torch.Tensor:
        sides = [((width - len(array), 0) if left else (0, width - len(array))) for array in arrays]
        return torch.from_numpy(
            np.stack([np.pad(a, side, constant_values=fill) for a, side in zip(arrays, sides, strict=True)])
        )

    batches = []
    for begin in range(0, len(calls), ROWS):
        numbers = shuffled[begin : begin + ROWS]
        chosen = [calls[number] for number in numbers]
        prompts, answers = [call.prompt_ids for call in chosen], [call.response_ids for call in chosen]
        batches.append(
            {
                "prompt_ids": padded(prompts, widest[0], left=True),
                "prompt_mask": padded([np.ones_like(ids) for ids in prompts], widest[0], left=True),
                "completion_ids": padded(answers, widest[1], left=False),
                "completion_mask": padded([np.ones_like(ids) for ids in answers], widest[1], left=False),
                "old_per_token_logps": padded([call.behavior_logprobs for call in chosen], widest[1], left=False),
                "advantages": torch.from_numpy(plan.advantages[numbers]).float(),
                "num_items_in_batch": torch.tensor(num_tokens),
            }
        )
    return batches


def trl_backward(trainer: Any, batches: list[dict[str, Any]]) -> None:  # noqa: ANN401
    """Accumulate TRL's gradient over the micro-batches, by the method its training loop calls."""
    for batch in batches:
        trainer.training_step(trainer.model, dict(batch), batch["num_items_in_batch"])
        trainer.model.eval()


def trl_update(trainer: Any, batches: list[dict[str, Any]]) -> None:  # noqa: ANN401
    """Make one update of TRL's."""
    trl_backward(trainer, batches)
    trainer.accelerator.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer.optimizer.step()
    trainer.model.zero_grad()


def compare(ours: Learner, trainer: Any, batches: list[dict[str, Any]], num_tokens: int) -> float:  # noqa: ANN401
    """Return the relative difference of the two gradients of the same update; refuse to measure unlike things."""
    accumulate(ours, ours.plan.sequences, denominator=float(num_tokens))
    trl_backward(trainer, batches)
    mine, other = gradient(ours.weights), gradient(list(trainer.model.parameters()))
    difference = float((mine - other).norm() / other.norm())
    assert difference < 1e-3, f"the gradients differ by {difference:.1e}"
    return difference


# --- merged beside per call


def merged(arguments: argparse.Namespace) -> None:
    """Compare updates over ten-turn traces: one sequence a trace, or one a call."""
    with tempfile.TemporaryDirectory() as directory:
        model = write_model(Path(directory) / "model", vocabulary=arguments.vocabulary)
        rows = multi_turn(np.random.default_rng(0), arguments.vocabulary, num_traces=arguments.traces)
        ours = learner(model, rows, tokens_per_batch=8192)
        calls = ours.plan.logged.calls
        alone = [
            Sequence(each.ids, np.where(each.call == 0, index, each.call), each.behavior_logprobs, each.start)
            for index, call in enumerate(calls)
            for each in build_sequences([call])
        ]
        num_tokens = sum(sequence.num_trained for sequence in alone)
        flat = []
        for sequences in (ours.plan.sequences, alone):
            accumulate(ours, sequences, denominator=float(num_tokens))
            flat.append(gradient(ours.weights))
        difference = float((flat[0] - flat[1]).norm() / flat[1].norm())
        assert difference < 1e-4, f"the gradients differ by {difference:.1e}"
        tokens = [sum(len(each.ids) for each in sequences) for sequences in (alone, ours.plan.sequences)]
        print(
            f"{arguments.traces} traces of 10 calls, {num_tokens} trained tokens; {tokens[0]} tokens call by call, "
            f"{tokens[1]} merged ({tokens[0] / tokens[1]:.1f} times); relative difference of gradients {difference:.1e}"
        )
        seconds = take_turns(
            {
                "call by call": lambda: update(ours, alone, num_tokens),
                "merged": lambda: update(ours, ours.plan.sequences, num_tokens),
            },
            arguments.rounds,
        )
        report(seconds, num_tokens, ours="merged", theirs="call by call")


# --- prompts shared by attempts


def shared(arguments: argparse.Namespace) -> None:
    """Compare updates over attempts at the same prompts: the prompt once a task, or once an attempt."""
    with tempfile.TemporaryDirectory() as directory:
        model = arguments.model or write_model(Path(directory) / "model", vocabulary=arguments.vocabulary)
        vocabulary, _ = read_limits(model)
        rng = np.random.default_rng(0)
        rows = []
        for task in range(arguments.tasks):
            prompt = rng.integers(3, 200, arguments.prompt_tokens).tolist()
            answers = rng.integers(3, 200, (GROUP, arguments.new_tokens)).tolist()
            rows += group_of(task, prompt, answers, vocabulary)
        ours = learner(model, rows, tokens_per_batch=4096, data=Path(directory))
        sequences = ours.plan.sequences
        num_tokens = sum(sequence.num_trained for sequence in sequences)

        def pass_over(*, is_shared: bool) -> dict[str, float]:
            ours.__dict__["shares"] = is_shared
            return accumulate(ours, sequences, denominator=float(num_tokens))

        read, flat = [], []
        for is_shared in (False, True):
            read.append(pass_over(is_shared=is_shared)["num_forward_tokens"])
            flat.append(gradient(ours.weights))
        difference = float((flat[0] - flat[1]).norm() / flat[0].norm())
        assert difference < 1e-4, f"the gradients differ by {difference:.1e}"
        print(
            f"{len(rows)} attempts of {arguments.prompt_tokens} + {arguments.new_tokens} tokens; {read[0]:.0f} tokens "
            f"one by one, {read[1]:.0f} shared ({read[0] / read[1]:.1f} times); "
            f"relative difference of gradients {difference:.1e}"
        )
        seconds = take_turns(
            {"one by one": lambda: pass_over(is_shared=False), "shared": lambda: pass_over(is_shared=True)},
            arguments.rounds,
        )
        report(seconds, num_tokens, ours="shared", theirs="one by one")


# --- memory by vocabulary


def memory(arguments: argparse.Namespace) -> None:
    """Print the peak of one update's forward and backward passes for every vocabulary, each in a process of its own."""
    for vocabulary in VOCABULARIES:
        command = [sys.executable, "-m", "benchmarks.train.speed", "memory-of", f"--vocabulary={vocabulary}"]
        subprocess.run([*command, f"--tasks={arguments.tasks}"], check=True)


def memory_of(arguments: argparse.Namespace) -> None:
    """Measure one vocabulary: what comes on top of weights and gradients, which are there before."""
    with tempfile.TemporaryDirectory() as directory:
        model = write_model(Path(directory) / "model", vocabulary=arguments.vocabulary, hidden=64, layers=2)
        rng = np.random.default_rng(0)
        rows = single_turn(rng, arguments.vocabulary, num_tasks=arguments.tasks, uniform=True)
        ours = learner(model, rows, tokens_per_batch=10**9)
        accumulate(ours, ours.plan.sequences[:1], denominator=1.0)  # gradients are allocated
        weights = sum(weight.numel() * weight.element_size() for weight in ours.weights)
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        metrics = accumulate(ours, ours.plan.sequences, denominator=1.0)
        peak = resident("VmHWM") - before
        logits = metrics["num_tokens"] * arguments.vocabulary * 4
        print(
            f"vocabulary {arguments.vocabulary:7}: {peak / 2**20:6.0f} MiB on top of weights and gradients "
            f"(weights {weights / 2**20:.0f} MiB; all logits at once would be {logits / 2**20:.0f} MiB)",
            flush=True,
        )


def resident(field: str) -> int:
    """Return a field of /proc/self/status, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["trl", "merge", "share", "memory", "memory-of"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tasks", type=int, default=8, help=f"tasks of {GROUP} attempts")
    parser.add_argument("--traces", type=int, default=8)
    parser.add_argument("--model", type=Path, help="of `share`; random weights without")
    parser.add_argument("--prompt-tokens", type=int, default=180)
    parser.add_argument("--new-tokens", type=int, default=60)
    parser.add_argument("--vocabulary", type=int, default=4096)
    arguments = parser.parse_args()
    modes = {"trl": beside_trl, "merge": merged, "share": shared, "memory": memory, "memory-of": memory_of}
    modes[arguments.what](arguments)


if __name__ == "__main__":
    main()
