"""The steps of a night whose agents ask a hosted model: a student is distilled of what is new, and replayed.

DATA/nightly/student.json says which student the last such night made, and of which base: the next one goes on from it,
so that no history is imitated twice.
"""

from pathlib import Path
from typing import Any

from foundation.errors import ExitStatus
from foundation.files import write_atomically
from foundation.narration import get_logger
from foundation.state import encode_state, read_state
from spanloop.nightly.night import Night, read_served
from spanloop.nightly.settings import NightlyConfig
from spanloop.processes import StageFailed, run_stage
from train.schema import MANIFEST, model_version, read_manifest

log = get_logger("nightly")

STATE_VERSION = 1


def student_of(config: NightlyConfig) -> Path:
    """Return the model a night goes on from: the student of the night before, else its base."""
    assert config.student is not None
    kept = read_state(_path(config.data), version=STATE_VERSION, hint="Remove it; the base is then taught anew.")
    if kept is None or kept["base"] != model_version(config.student):
        return config.student
    student = Path(kept["checkpoint"])
    if not (student / MANIFEST).exists():
        log.warning("the student of the night before is gone; its base is taught anew", checkpoint=str(student))
        return config.student
    return student


def distil_arguments(config: NightlyConfig, model: Path) -> list[str]:
    """Return what to tell a distillation."""
    named = ["--agent", ",".join(config.agents)] if config.agents else []
    return ["--data", str(config.data), "--model", str(model), *named]


def distil(config: NightlyConfig, night: Night, out: Path) -> dict[str, Any]:
    """Teach the student what is new; its checkpoint is null where that is too little."""
    report = run_stage("distill", *distil_arguments(config, night.model), "--out", str(out), "--wait")
    if report.get("checkpoint") is None:
        log.info("too little is new to learn from", reason=report.get("waiting"))
        return report
    remember(config, Path(report["checkpoint"]))
    return report


def remember(config: NightlyConfig, checkpoint: Path) -> None:
    """Keep which student the next night goes on from."""
    assert config.student is not None
    kept = {"base": model_version(config.student), "checkpoint": str(checkpoint)}
    write_atomically(_path(config.data), encode_state(kept, version=STATE_VERSION))


def judge(config: NightlyConfig, night: Night) -> dict[str, Any]:
    """Replay the student, which writes the verdict into its manifest; say in a line what was gained."""
    checkpoint = Path(str(night.checkpoint))
    named = ["--agents", ",".join(config.agents)] if config.agents else []
    try:
        run_stage("replay", "--data", str(config.data), "--candidate", str(checkpoint), *named, "--gate")
    except StageFailed as error:
        if error.exit_status is not ExitStatus.REFUSED:
            raise
    gate = read_manifest(checkpoint).gate
    if gate is None:
        return {"gate": None, "gained": "nothing could be replayed: see what the stage said"}
    told = gained(gate)
    log.info("gained", line=told)
    return {"gate": gate, "gained": told}


def try_out(config: NightlyConfig, night: Night, *, is_served: bool) -> dict[str, Any]:
    """Give the student a share of the calls where a gateway runs and nothing speaks against it; else say what to do."""
    gate = night.done["replay"].get("gate") or {}
    checkpoint = str(night.checkpoint)
    if gate.get("verdict") in (None, "refused"):
        return {"live": None, "hint": f"The student is not tried: {gate.get('reason', 'it was not judged')}"}
    if is_served and read_served(config.data) is not None:
        return run_stage("serve", "canary", "--data", str(config.data), "--margin", str(config.margin), checkpoint)
    hint = (
        f"Serve it: spanloop serve run --data {config.data} --model {checkpoint}, with --fallback to the hosted model."
    )
    log.info("the student waits", hint=hint)
    return {"live": None, "hint": hint}


def gained(gate: dict[str, Any]) -> str:
    """Return in one line what a team gains by a student: score, agreement, time and tokens, teacher to student."""
    found = gate["replay"]
    teacher, student = found["teacher"], found["candidate"]
    parts = [gate["verdict"]]
    if teacher["score"] is not None and student["score"] is not None:
        parts.append(f"score {teacher['score']['mean']:.3f} to {student['score']['mean']:.3f}")
    if student["agreement"] is not None:
        parts.append(f"tool calls agree {student['agreement']:.0%}")
    parts.append(f"{student['share_whole']:.0%} replayed to the end")
    for name, label in (("duration_s", "seconds an answer"), ("cost", "cost of a state")):
        if teacher[name] is not None and student[name] is not None:
            parts.append(f"{label} {teacher[name]:.3g} to {student[name]:.3g}")
    return ", ".join(parts)


def _path(data: Path) -> Path:
    return data / "nightly" / "student.json"
