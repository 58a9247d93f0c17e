"""One training run, from published transitions to a checkpoint directory."""

import contextlib
import glob
import hashlib
import importlib.metadata
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from transformers import PreTrainedModel

from etl.schema import read_watermark, table_files
from foundation.errors import GateRefused, SettingsError, SpanloopError
from foundation.narration import get_logger
from foundation.report import RunReport
from train.credit.token_values import CRITIC_STEP, make_value_head
from train.engine.adapters import attach, describe_base, has_adapter, merge
from train.engine.checkpoint import ready, sweep_partial, write_checkpoint
from train.engine.learner import Learner
from train.engine.ledger import write_credit
from train.engine.policy import SampledTokens, load_policy, save_activations
from train.engine.resume import Keeper, fingerprint, sweep
from train.gate.distance import are_finite
from train.gate.probes import choose_candidates, make_probes, score
from train.loop import Trained, default_learning_rate, learn
from train.plan import Plan, make_plan, read_limits
from train.schema import Manifest, Probe, base_of, model_version, tokenizer_digests
from train.settings import TrainConfig

log = get_logger("train")

WITHOUT_EFFECT = {"out", "resume", "save_interval_s", "log_with"}
"""Settings that change nothing of what comes out."""


def train(config: TrainConfig, plan: Plan, report: RunReport) -> Path | None:
    """Train the model of the settings on a plan and return the checkpoint's path.

    Under a launcher every process trains, the main one writes, and the others return None; the processes' group is left
    behind. A run that was killed goes on where it was.
    """
    with _group():
        return _run(config, plan, report)


@contextlib.contextmanager
def _group() -> Iterator[None]:
    """Leave the processes' group when training has ended or was refused; a process that failed is the launcher's."""
    try:
        yield
    except GateRefused:
        _leave_group()
        raise
    _leave_group()


def _leave_group() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _run(config: TrainConfig, plan: Plan, report: RunReport) -> Path | None:
    device_is_cpu = not torch.cuda.is_available()
    dtype = config.dtype or ("float32" if device_is_cpu else "bfloat16")
    out = config.out or config.data / "checkpoints"
    accelerator = _accelerator(config, out, cpu=device_is_cpu, mixed_precision="bf16" if dtype == "bfloat16" else "no")
    set_seed(config.seed)
    report.update(num_processes=accelerator.num_processes, device=accelerator.device.type, dtype=dtype)
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
            _release(accelerator)
            raise
        if checkpoint is not None:  # on the main process alone: until it has written, the state must stay
            keeper.forget()
    return checkpoint


def train_each_agent(config: TrainConfig, plan: Plan, report: RunReport) -> dict[str, Path]:
    """Train one adapter for each agent of the plan that has calls to train, and return the checkpoints by agent.

    An agent with too little data is passed over; refused is only a run in which all are.
    """
    with _group():
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


def _accelerator(config: TrainConfig, out: Path, *, cpu: bool, mixed_precision: str) -> Accelerator:
    """Return the accelerator, its trackers begun; refuse trackers that are not there, which Accelerate passes over."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`log_with=")  # said below, as an error
            accelerator = Accelerator(
                cpu=cpu,
                mixed_precision=mixed_precision,
                log_with=list(config.log_with) or None,
                project_dir=out / "tracking" if config.log_with else None,
            )
    except ValueError as error:
        raise SettingsError(f"log_with: {error}") from error
    if config.log_with:
        settings = config.model_dump(mode="json")
        scalars = {name: value for name, value in settings.items() if isinstance(value, (int, float, str))}
        accelerator.init_trackers("spanloop", config=scalars)
        missing = set(config.log_with) - {tracker.name for tracker in accelerator.trackers}
        if missing and accelerator.is_main_process:
            raise SettingsError(
                f"log_with names {', '.join(sorted(missing))}, which cannot be imported",
                hint=f"Install what it needs: pip install {' '.join(sorted(missing))}",
            )
    return accelerator


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
        policy = _open(config, accelerator)
    candidates = choose_candidates(plan.logged.calls)
    before = score(SampledTokens(policy), candidates, device=accelerator.device)
    lines: list[bytes] = []

    def write(line: dict[str, Any]) -> None:
        lines.append(orjson.dumps(line) + b"\n")
        accelerator.log({name: value for name, value in line.items() if name != "update"}, step=line["update"])

    with report.phase("train") as phase:
        trained, weights = _learn(accelerator, policy, plan, config, write, keeper)
        phase.update(num_updates=trained.num_updates, stopped=trained.stopped)
    _release(accelerator)
    log.info(
        "trained",
        updates=trained.num_updates,
        stopped=trained.stopped,
        **{name: round(trained.last[name], 4) for name in ("reward", "kl_call", "clip_fraction") if trained.last},
    )
    if not trained.num_updates:
        raise GateRefused(
            f"no update was made: {trained.stopped or 'no call has an advantage'}",
            hint="metrics and the lines above say which updates were undone, and why."
            if trained.num_undone
            else "Every call went as well as its baseline had it: more varied outcomes teach, or another --baseline.",
        )
    report.update(
        num_updates=trained.num_updates,
        num_undone=trained.num_undone,
        stopped=trained.stopped,
        mismatch=trained.mismatch,
        metrics=trained.last,
    )
    if not accelerator.is_main_process:
        return None

    def describe(written: Path, checkpoint_id: str, digest: str) -> Manifest:
        write_credit(written, plan, checkpoint_id)
        is_in_place = weights is None and not config.merge
        final = policy if is_in_place else load_policy(written)
        after = score(SampledTokens(final), candidates, device=final.device)
        probes = make_probes(candidates, before, after)
        is_adapter = has_adapter(final)
        return _manifest(checkpoint_id, digest, config, plan, trained, probes, window, now, is_adapter=is_adapter)

    with report.phase("save"):
        now = datetime.now(UTC)
        return write_checkpoint(
            _saver(policy, weights, merged=config.merge),
            config.model,
            out,
            metrics=b"".join(lines),
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


def _release(accelerator: Accelerator) -> None:
    """Finish the trackers and let go of what was prepared, so that it does not outlive the processes' group.

    A reducer of gradients that is the last to hold the group waits for the group's threads with the GIL in hand, and
    they may be waiting for that (pytorch/pytorch#56297).
    """
    for tracker in accelerator.trackers:
        tracker.finish()
    accelerator.free_memory()


def _open(config: TrainConfig, accelerator: Accelerator) -> PreTrainedModel:
    """Open the model, with the adapter it is trained by, on the device."""
    is_adapted = config.adapter == "lora" or base_of(config.model) is not None
    # What is frozen needs no more precision than it is computed in; what is trained is always kept in float32.
    half = is_adapted and accelerator.mixed_precision == "bf16"
    policy = load_policy(config.model, dtype=torch.bfloat16 if half else torch.float32)
    if is_adapted and not has_adapter(policy):
        attach(policy, config)
    if config.merge and not is_adapted:
        raise SettingsError("merge: there is no adapter to merge", hint="Ask for one with --adapter lora.")
    if config.gradient_checkpointing:
        save_activations(policy)
    policy.to(accelerator.device)
    return policy


def make_learner(accelerator: Accelerator, policy: PreTrainedModel, plan: Plan, config: TrainConfig) -> Learner:
    """Return what a run trains with: the model, its token critic where asked for, and their optimiser, wrapped."""
    width = policy.config.get_text_config().hidden_size
    rate = config.learning_rate or default_learning_rate(width, adapter=has_adapter(policy))
    head = make_value_head(width).to(policy.device) if config.token_critic else None
    groups: list[dict[str, Any]] = [{"params": [weight for weight in policy.parameters() if weight.requires_grad]}]
    if head is not None:
        groups.append({"params": list(head.parameters()), "lr": CRITIC_STEP / width, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), weight_decay=config.weight_decay)
    tokens, optimizer = accelerator.prepare(SampledTokens(policy, head), optimizer)
    return Learner(accelerator, tokens, optimizer, plan, config)


def gather_weights(learner: Learner, policy: PreTrainedModel) -> dict[str, Tensor] | None:
    """Return the whole weights of a sharded model, on the main process; None where every process has them anyway."""
    if not any(hasattr(weight, "to_local") for weight in learner.weights):
        return None
    gathered = get_model_state_dict(
        learner.tokens, options=StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    )
    tied = getattr(policy, "all_tied_weights_keys", {})
    names = {name: name.removeprefix("policy.") for name in gathered}
    return {
        names[name]: weight
        for name, weight in gathered.items()
        if isinstance(weight, Tensor) and name.startswith("policy.") and names[name] not in tied
    }


def _saver(policy: PreTrainedModel, weights: dict[str, Tensor] | None, *, merged: bool) -> Callable[[Path], None]:
    """Return what writes a policy into a directory: as a whole model, or its adapter alone."""

    def save(directory: Path) -> None:
        policy.save_pretrained(directory, state_dict=weights)

    def save_merged(directory: Path) -> None:
        # Over the base as it is on disk: in training it may have been in half precision, or in pieces.
        with tempfile.TemporaryDirectory(dir=directory) as adapter:
            save(Path(adapter))
            merge(Path(adapter)).save_pretrained(directory)

    return save_merged if merged else save


def _manifest(
    checkpoint_id: str,
    digest: str,
    config: TrainConfig,
    plan: Plan,
    trained: Trained,
    probes: list[Probe],
    window: dict[str, Any],
    now: datetime,
    *,
    is_adapter: bool,
) -> Manifest:
    tokenizer, template = tokenizer_digests(config.model)
    return Manifest(
        checkpoint_id=checkpoint_id,
        kind="adapter" if is_adapter else "full",
        base=describe_base(base_of(config.model) or config.model) if is_adapter else None,
        agents=config.agents,
        parent=model_version(config.model),
        weights_digest=digest,
        tokenizer_digest=tokenizer or "",
        chat_template_digest=template,
        created_time=now.isoformat(),
        code_version=importlib.metadata.version("spanloop"),
        window=window | {"counts": plan.facts},
        settings=config.model_dump(mode="json"),
        metrics=dict(trained.last),
        probes=probes,
    )


def describe_window(data: Path) -> dict[str, Any]:
    """Return the files of the transitions table with their digests, and the first and last received_seq they cover."""
    files = table_files(data, "transitions")
    windows = (read_watermark(data) or {"windows": []})["windows"]
    return {
        "files": {path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "received_seq": [
            min((window["since_seq"] for window in windows), default=None),
            max((window["until_seq"] for window in windows), default=None),
        ],
    }
