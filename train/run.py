"""One training run, from published transitions to a checkpoint directory."""

import hashlib
import importlib.metadata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from transformers import PreTrainedModel

from etl.schema import table_files
from foundation.errors import GateRefused
from foundation.narration import get_logger
from foundation.report import RunReport
from train.checkpoint import write_checkpoint
from train.loop import Learner, Trained, default_learning_rate, learn
from train.plan import Plan
from train.policy import SampledTokens, load_policy
from train.probes import choose_candidates, make_probes, score
from train.schema import Manifest, Probe, model_version, tokenizer_digests
from train.settings import TrainConfig

log = get_logger("train")


def train(config: TrainConfig, plan: Plan, report: RunReport) -> Path | None:
    """Train the model of the settings on a plan and return the checkpoint's path.

    Under `accelerate launch` every process trains, the main one writes, and the others return None.
    """
    device_is_cpu = not torch.cuda.is_available()
    dtype = config.dtype or ("float32" if device_is_cpu else "bfloat16")
    accelerator = Accelerator(cpu=device_is_cpu, mixed_precision="bf16" if dtype == "bfloat16" else "no")
    set_seed(config.seed)
    report.update(num_processes=accelerator.num_processes, device=accelerator.device.type, dtype=dtype)
    with report.phase("load"):
        policy = load_policy(config.model)
        policy.to(accelerator.device)
    candidates = choose_candidates(plan.logged.calls)
    before = score(SampledTokens(policy), candidates, device=accelerator.device)
    metrics: list[bytes] = []
    with report.phase("train") as phase:
        trained = learn(_learner(accelerator, policy, plan, config), lambda line: metrics.append(orjson.dumps(line)))
        phase.update(num_updates=trained.num_updates, stopped=trained.stopped)
    log.info(
        "trained",
        updates=trained.num_updates,
        stopped=trained.stopped,
        **{name: round(trained.last[name], 4) for name in ("reward", "kl_call", "clip_fraction") if trained.last},
    )
    if not trained.num_updates:
        raise GateRefused(
            f"no update was made: {trained.stopped or 'no call has an advantage'}",
            hint="The calls were sampled by a policy too far from this model; raise --kl-budget only if you know why.",
        )
    probes = make_probes(candidates, before, score(SampledTokens(policy), candidates, device=accelerator.device))
    report.update(
        num_updates=trained.num_updates, stopped=trained.stopped, mismatch=trained.mismatch, metrics=trained.last
    )
    if not accelerator.is_main_process:
        return None
    with report.phase("save"):
        now = datetime.now(UTC)
        return write_checkpoint(
            policy,
            config.model,
            config.out or config.data / "checkpoints",
            metrics=b"".join(line + b"\n" for line in metrics),
            now=now,
            describe=lambda checkpoint_id, digest: _manifest(
                checkpoint_id, digest, config, plan, trained, probes, now=now
            ),
        )


def _learner(accelerator: Accelerator, policy: PreTrainedModel, plan: Plan, config: TrainConfig) -> Learner:
    rate = config.learning_rate or default_learning_rate(policy.config.get_text_config().hidden_size)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=config.weight_decay)
    tokens, optimizer = accelerator.prepare(SampledTokens(policy), optimizer)
    return Learner(accelerator, tokens, optimizer, plan, config)


def _manifest(
    checkpoint_id: str,
    digest: str,
    config: TrainConfig,
    plan: Plan,
    trained: Trained,
    probes: list[Probe],
    *,
    now: datetime,
) -> Manifest:
    tokenizer, template = tokenizer_digests(config.model)
    return Manifest(
        checkpoint_id=checkpoint_id,
        parent=model_version(config.model),
        weights_digest=digest,
        tokenizer_digest=tokenizer or "",
        chat_template_digest=template,
        created_time=now.isoformat(),
        code_version=importlib.metadata.version("spanloop"),
        window=describe_window(config.data) | {"counts": plan.facts},
        settings=config.model_dump(mode="json"),
        metrics=dict(trained.last),
        probes=probes,
    )


def describe_window(data: Path) -> dict[str, Any]:
    """Return the files of the transitions table with their digests."""
    files = table_files(data, "transitions")
    return {
        "files": {path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    }
