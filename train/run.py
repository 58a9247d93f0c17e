"""One training run, from published transitions to a checkpoint directory."""

import glob
import importlib.metadata
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor
from transformers import PreTrainedModel

from foundation.errors import GateRefused, SpanloopError
from foundation.narration import get_logger
from foundation.report import RunReport
from train.engine.adapters import has_adapter
from train.engine.checkpoint import ready, sweep_partial, write_checkpoint
from train.engine.ledger import write_credit
from train.engine.policy import SampledTokens, load_policy
from train.engine.resume import Keeper, fingerprint, sweep
from train.equipment import make_accelerator, make_learner, open_policy, process_group, release, saves_halves
from train.gate.distance import are_finite
from train.gate.probes import choose_candidates, make_probes, score
from train.loop import Trained, learn
from train.memory import fit_memory
from train.plan import Plan, make_plan, read_limits
from train.publishing import describe_window, gather_weights, make_manifest, saver
from train.schema import Manifest, model_version
from train.settings import TrainConfig

log = get_logger("train")

WITHOUT_EFFECT = {"max_memory", "out", "resume", "save_interval_s", "log_with"}
"""Settings that change nothing of what comes out."""


def train(config: TrainConfig, plan: Plan, report: RunReport) -> Path | None:
    """Train the model of the settings on a plan and return the checkpoint's path.

    Under a launcher every process trains, the main one writes, and the others return None; the processes' group is left
    behind. A run that was killed goes on where it was.
    """
    with process_group():
        return _run(config, plan, report)


def _run(config: TrainConfig, plan: Plan, report: RunReport) -> Path | None:
    device_is_cpu = not torch.cuda.is_available()
    dtype = config.dtype or ("float32" if device_is_cpu else "bfloat16")
    out = config.out or config.data / "checkpoints"
    accelerator = make_accelerator(
        config, out, cpu=device_is_cpu, mixed_precision="bf16" if dtype == "bfloat16" else "no"
    )
    set_seed(config.seed)
    report.update(num_processes=accelerator.num_processes, device=accelerator.device.type, dtype=dtype)
    fitting = fit_memory(config, plan, accelerator)
    config = config.model_copy(update={"tokens_per_batch": fitting})
    window = describe_window(config.data)
    if accelerator.is_main_process:
        ready(out)
        sweep(out, now_s=time.time())
        sweep_partial(out, now_s=time.time())
    run = fingerprint(
        {
            "settings": config.model_dump(mode="json", exclude=WITHOUT_EFFECT),
            "window": window,
            "model": model_version(config.model),
            "machine": (accelerator.num_processes, accelerator.device.type, dtype),
            "versions": [importlib.metadata.version(name) for name in ("spanloop", "torch", "transformers")],
        }
    )
    keeper = Keeper(out / f".resume-{run}", config.save_interval_s)
    with keeper.hold(is_main=accelerator.is_main_process):
        if accelerator.is_main_process and not config.resume:
            keeper.forget()
        accelerator.wait_for_everyone()
        try:
            checkpoint = _train(config, plan, report, accelerator, keeper, window=window, out=out)
        except GateRefused as refused:
            if accelerator.is_main_process:
                keeper.forget()  # it would be refused again
            refused.__traceback__ = None  # its frames hold what is to be released
            release(accelerator)
            raise
        if checkpoint is not None:  # on the main process alone: until it has written, the state must stay
            keeper.forget()
    return checkpoint


def train_each_agent(config: TrainConfig, plan: Plan, report: RunReport) -> dict[str, Path]:
    """Train one adapter for each agent of the plan that has calls to train, and return the checkpoints by agent.

    An agent with too little data is passed over; refused is only a run in which all are.
    """
    with process_group():
        return _run_each_agent(config, plan, report)


def _run_each_agent(config: TrainConfig, plan: Plan, report: RunReport) -> dict[str, Path]:
    vocabulary_size, max_length = read_limits(config.model)
    agents = sorted({call.agent for call in plan.logged.calls if call.set_aside is None})
    checkpoints, refusals = dict[str, Path](), dict[str, GateRefused]()
    for agent in agents:
        own = config.model_copy(update={"agents": (glob.escape(agent),)})
        try:
            checkpoint = _run(own, make_plan(own, vocabulary_size=vocabulary_size, max_length=max_length), report)
        except GateRefused as refused:
            log.warning("agent passed over", agent=agent, reason=refused.message.splitlines()[0])
            refusals[agent] = refused
            continue
        if checkpoint is not None:
            log.info("checkpoint written", agent=agent, path=str(checkpoint))
            checkpoints[agent] = checkpoint
    report.update(refused={agent: refused.message for agent, refused in refusals.items()})
    if len(refusals) == len(agents):
        raise next(iter(refusals.values()))
    return checkpoints


def _train(
    config: TrainConfig,
    plan: Plan,
    report: RunReport,
    accelerator: Accelerator,
    keeper: Keeper,
    *,
    window: dict[str, Any],
    out: Path,
) -> Path | None:
    with report.phase("load"):
        policy = open_policy(config, accelerator)
    candidates = choose_candidates(plan.logged.calls)
    before = score(SampledTokens(policy), candidates, device=accelerator.device)
    lines: list[bytes] = []

    def write(line: dict[str, Any]) -> None:
        lines.append(orjson.dumps(line) + b"\n")
        accelerator.log({name: value for name, value in line.items() if name != "update"}, step=line["update"])

    with report.phase("train") as phase:
        trained, weights = _learn(accelerator, policy, plan, config, write, keeper)
        phase.update(num_updates=trained.num_updates, stopped=trained.stopped)
    release(accelerator)
    log.info(
        "trained",
        updates=trained.num_updates,
        stopped=trained.stopped,
        **{name: round(trained.last[name], 4) for name in ("reward", "kl_call", "clip_fraction") if trained.last},
    )
    if not trained.num_updates:
        if trained.num_undone:
            hint = "metrics and the lines above say which updates were undone, and why."
        elif trained.heldout_losses and trained.heldout_losses[-1] > trained.heldout_losses[0]:
            hint = "What is learned from these calls does not carry over: more tasks, or a smaller --learning-rate."
        elif trained.stopped:
            hint = "More episodes or more varied outcomes have more in common; --optimizer adamw moves all alike."
        else:
            hint = "Every call went as well as its baseline had it: more varied outcomes teach, or another --baseline."
        raise GateRefused(f"no update was made: {trained.stopped or 'no call has an advantage'}", hint=hint)
    report.update(
        num_updates=trained.num_updates,
        num_undone=trained.num_undone,
        stopped=trained.stopped,
        mismatch=trained.mismatch,
        metrics=trained.last,
        heldout_losses=list(trained.heldout_losses),
    )
    if not accelerator.is_main_process:
        return None
    halved = saves_halves(config, accelerator.mixed_precision)

    def describe(written: Path, checkpoint_id: str, digest: str) -> Manifest:
        write_credit(written, plan, checkpoint_id)
        is_in_place = weights is None and not config.merge and not halved
        final = policy if is_in_place else load_policy(written)
        after = score(SampledTokens(final), candidates, device=final.device)
        probes = make_probes(candidates, before, after)
        is_adapter = has_adapter(final)
        return make_manifest(checkpoint_id, digest, config, plan, trained, probes, window, now, is_adapter=is_adapter)

    with report.phase("save"):
        now = datetime.now(UTC)
        return write_checkpoint(
            saver(policy, weights, merged=config.merge, halved=halved),
            config.model,
            out,
            metrics=b"".join(lines[: trained.num_updates]),  # those of a pass that was taken back go
            now=now,
            describe=describe,
        )


def _learn(
    accelerator: Accelerator,
    policy: PreTrainedModel,
    plan: Plan,
    config: TrainConfig,
    write: Callable[[dict[str, Any]], None],
    keeper: Keeper,
) -> tuple[Trained, dict[str, Tensor] | None]:
    """Make the updates; return how it went, and the weights where they have to be gathered from the processes."""
    learner = make_learner(accelerator, policy, plan, config)
    trained = learn(learner, write, keeper)
    if not are_finite(learner):
        raise SpanloopError(f"the weights of {config.model} are not finite: nothing is published")
    return trained, gather_weights(learner, policy)
