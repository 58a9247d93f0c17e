"""One distillation, from published transitions to a checkpoint directory with its card."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import torch
from accelerate.utils import set_seed

from foundation.files import write_atomically
from foundation.models import find_model
from foundation.narration import get_logger
from foundation.report import RunReport
from train.distill.card import CARD, write_card
from train.distill.preparing import Lesson, prepare
from train.distill.settings import DistillConfig
from train.distill.students import count_weights
from train.distill.teaching import Taught, teach
from train.engine.adapters import has_adapter
from train.engine.checkpoint import ready, sweep_partial, write_checkpoint
from train.engine.ledger import write_credit
from train.engine.policy import SampledTokens, load_policy
from train.equipment import make_accelerator, make_learner, open_policy, process_group, release, saves_halves
from train.gate.probes import choose_candidates, make_probes, score
from train.loop import Trained, default_learning_rate
from train.memory import fit_memory
from train.publishing import describe_window, gather_weights, make_manifest, saver
from train.schema import Manifest, base_of
from train.settings import TrainConfig

log = get_logger("distill")

FASTER = 4.0
"""Times the trainer's rate: a held-out loss watches here, where the trainer's own calls are to stay near."""

LORA_FROM = 100_000_000


def distill(config: DistillConfig, report: RunReport) -> Path | None:
    """Teach a student and return its checkpoint; under a launcher the main process alone does."""
    assert config.model is not None
    model = find_model(config.model)
    with report.phase("choose"):
        lesson = prepare(config, model)
    facts = lesson.plan.facts
    report.update(**facts, teachers=lesson.teachers)
    log.info("chosen", by=facts["chosen_by"], taught=facts["num_taught_calls"], examined=facts["num_examined_calls"])
    with process_group():
        return _teach(config, as_training(config, model), lesson, report)


def as_training(config: DistillConfig, model: Path) -> TrainConfig:
    """Return what the trainer's parts are told."""
    adapter = config.adapter or ("lora" if base_of(model) is not None or count_weights(model) >= LORA_FROM else "none")
    return TrainConfig(
        data=config.data,
        model=model,
        out=config.out,
        recipe="imitate",
        agents=config.agent,
        since=config.since,
        again=config.again,
        adapter=adapter,
        lora_rank=config.lora_rank,
        lora_alpha=2.0 * config.lora_rank,
        merge=config.merge and adapter == "lora",
        epochs=config.epochs,
        max_memory=config.max_memory,
        seed=config.seed,
    )


def _teach(config: DistillConfig, training: TrainConfig, lesson: Lesson, report: RunReport) -> Path | None:
    out = config.out or config.data / "checkpoints"
    is_cpu = not torch.cuda.is_available()
    accelerator = make_accelerator(training, out, cpu=is_cpu, mixed_precision="no" if is_cpu else "bf16")
    set_seed(config.seed)
    plan = lesson.plan
    training = training.model_copy(update={"tokens_per_batch": fit_memory(training, plan, accelerator)})
    if accelerator.is_main_process:
        ready(out)
        sweep_partial(out, now_s=datetime.now(UTC).timestamp())
    with report.phase("load"):
        policy = open_policy(training, accelerator)
    width = policy.config.get_text_config().hidden_size
    rate = config.learning_rate or FASTER * default_learning_rate(width, adapter=has_adapter(policy))
    training = training.model_copy(update={"learning_rate": rate})
    candidates = choose_candidates(plan.logged.calls)
    before = score(SampledTokens(policy), candidates, device=accelerator.device)
    lines: list[bytes] = []

    def write(line: dict[str, Any]) -> None:
        lines.append(orjson.dumps(line) + b"\n")

    with report.phase("teach") as phase:
        learner = make_learner(accelerator, policy, plan, training)
        taught = teach(learner, lesson, config, write)
        weights = gather_weights(learner, policy)
        phase.update(num_updates=taught.num_updates, stopped=taught.stopped)
    release(accelerator)
    report.update(**_told(taught))
    log.info("taught", **_told(taught))
    if not accelerator.is_main_process:
        return None
    trained = Trained(taught.num_updates, taught.stopped, float("nan"), _metrics(taught))
    halved = saves_halves(training, accelerator.mixed_precision)

    def describe(written: Path, checkpoint_id: str, digest: str) -> Manifest:
        write_credit(written, plan, checkpoint_id)
        card = write_card(config, lesson, taught, checkpoint_id=checkpoint_id, student=training.model)
        write_atomically(written / CARD, card.encode())
        is_in_place = weights is None and not training.merge and not halved
        final = policy if is_in_place else load_policy(written)
        after = score(SampledTokens(final), candidates, device=final.device)
        probes = make_probes(candidates, before, after)
        window = describe_window(config.data)
        is_adapter = has_adapter(final)
        return make_manifest(checkpoint_id, digest, training, plan, trained, probes, window, now, is_adapter=is_adapter)

    with report.phase("save"):
        now = datetime.now(UTC)
        return write_checkpoint(
            saver(policy, weights, merged=training.merge, halved=halved),
            training.model,
            out,
            metrics=b"".join(lines),
            now=now,
            describe=describe,
        )


def _told(taught: Taught) -> dict[str, Any]:
    return {
        "num_updates": taught.num_updates,
        "epochs": taught.epochs,
        "best_epoch": taught.best_epoch,
        "stopped": taught.stopped,
        "heldout_loss_before": round(taught.loss_before, 4),
        "heldout_loss_after": round(taught.loss_after, 4),
    }


def _metrics(taught: Taught) -> dict[str, float]:
    return taught.last | {"heldout_loss_before": taught.loss_before, "heldout_loss": taught.loss_after}
