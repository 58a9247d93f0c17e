"""Changes of what is live while a gateway serves it: checked before, proved after, recorded when in force."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from foundation.errors import Busy
from foundation.narration import get_logger
from serve import behavior, registry
from serve.admission import Admission, Serving
from serve.behavior import Answer, BehaviorReport
from serve.engine import EngineFailed
from serve.heldout import Prompt, read_prompts
from serve.sampling import sampling_defaults
from serve.schema import Registry
from serve.settings import ServeConfig
from serve.swap import (
    CheckpointRefused,
    Difference,
    check_compatible,
    check_gate,
    check_integrity,
    describe_policy,
    find_probes,
    swap,
    undo,
)
from train.schema import Probe, weights_digest

log = get_logger("serve")

Action = Literal["promote", "rollback"]


class Changes:
    """Makes checkpoints live, one change at a time."""

    def __init__(self, config: ServeConfig, admission: Admission) -> None:
        self._config = config
        self._admission = admission
        self._lock = asyncio.Lock()

    @property
    def _data(self) -> Path:
        return self._config.data

    # --- as the control endpoint offers them

    async def promote(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make a checkpoint live."""
        checkpoint = Path(request["checkpoint"])
        force = bool(request.get("force"))
        async with self._lock:
            # Hashing gigabytes takes seconds: on a thread, so that calls go on meanwhile.
            await asyncio.to_thread(check_promotable, checkpoint, force=force)
            return await self._change(checkpoint, "promote", force=force)

    async def rollback(self, _: dict[str, Any]) -> dict[str, Any]:
        """Return to the checkpoint that was live before; that it behaves is known, so it is not asked again."""
        async with self._lock:
            target = registry.rollback_target(registry.require(self._data))
            await asyncio.to_thread(check_integrity, target, require_manifest=False)
            return await self._change(target, "rollback", force=True)

    # --- how

    async def _change(self, target: Path, action: Action, *, force: bool) -> dict[str, Any]:
        before = registry.require(self._data)
        serving = Path(before.live)
        await asyncio.to_thread(check_compatible, target, serving)
        policy = await asyncio.to_thread(describe_policy, target)
        probes = await asyncio.to_thread(find_probes, self._data, target)
        if not probes:
            raise CheckpointRefused(f"{target} has no probes to tell its weights by", hint="Restart the gateway on it.")
        gate = Gate(self._config, await self._prompts(force=force))
        if (former := self._admission.serving) is not None:
            await gate.ask_before(former)
        async with self._admission.changing(drain_timeout_s=self._config.drain_timeout_s):
            former = self._admission.serving
            if former is None:
                raise Busy("the engine is starting", hint="Try again when `spanloop serve status` says it is ready.")
            began = time.monotonic()
            now = Serving(former.engine, former.model, policy)
            difference, report = await self._swap(former, now, target, probes, serving, gate)
            after = await asyncio.to_thread(self._record, action, target, policy.version, report)
            self._admission.begin(now)
            paused_s = time.monotonic() - began
        log.info(action, version=after.live_version, before=before.live_version, paused_s=round(paused_s, 3))
        return change_report(before, after) | {
            "paused_s": round(paused_s, 4),
            "probe_mean_difference": difference.mean,
            "probe_max_difference": difference.max,
            "probe_num_tokens": difference.num_tokens,
            "probe_shift": difference.shift,
            "behavior": None if report is None else report.model_dump(mode="json"),
            "engine": former.engine.kind,
        }

    async def _prompts(self, *, force: bool) -> list[Prompt]:
        """Return what to ask; nothing where the outcome would change nothing."""
        if force:
            return []
        return await asyncio.to_thread(read_prompts, self._data, self._config.gate_prompts)

    def _record(self, action: Action, target: Path, version: str, report: BehaviorReport | None) -> Registry:
        change = registry.promote if action == "promote" else registry.rollback
        return change(self._data, target, version, behavior=None if report is None else report.passed)

    async def _swap(
        self,
        former: Serving,
        now: Serving,
        target: Path,
        probes: Sequence[Probe],
        serving: Path,
        gate: "Gate",
    ) -> tuple[Difference, BehaviorReport | None]:
        """Change the weights in place; when they are refused afterwards, the former ones are back."""
        try:
            difference = await swap(now.engine, target, probes, serving=serving)
            report = await gate.ask_after(former, now, target)
            if report is not None and not report.passed:
                await undo(now.engine, serving)
        except EngineFailed:
            # Nobody knows which weights it has now: a fresh one loads what the registry says is live.
            self._admission.suspend()
            await former.engine.stop()
            raise
        if report is not None:
            await asyncio.to_thread(behavior.keep_report, self._data, now.policy.version, report)
            behavior.check_report(report, now.policy.version)
        return difference, report


class Gate:
    """The gate on behavior, around one change: asks the old weights, then the new, then judges."""

    def __init__(self, config: ServeConfig, prompts: Sequence[Prompt]) -> None:
        self._config = config
        self._prompts = prompts
        self._before: list[Answer | None] = []

    async def ask_before(self, serving: Serving) -> None:
        """Ask the weights that are live, beside the calls of agents."""
        self._before = await self._ask(serving)

    async def ask_after(self, former: Serving, now: Serving, checkpoint: Path) -> BehaviorReport | None:
        """Ask the new weights and judge; None where there was nothing to ask or nobody to compare with."""
        if not self._prompts or not self._before:
            return None
        return behavior.judge(
            self._prompts,
            self._before,
            await self._ask(now),
            self._config,
            weights_digest=await asyncio.to_thread(weights_digest, checkpoint),
            compared_version=former.policy.version,
        )

    async def _ask(self, serving: Serving) -> list[Answer | None]:
        return await behavior.ask_all(
            serving,
            self._prompts,
            max_tokens=self._config.gate_tokens,
            sampling=sampling_defaults(serving.engine.model),
        )


def check_promotable(checkpoint: Path, *, force: bool) -> None:
    """Check everything about a checkpoint that can be known without an engine."""
    manifest = check_integrity(checkpoint)
    assert manifest is not None, "a checkpoint without a manifest was refused"
    if not force:
        check_gate(checkpoint, manifest)


def change_report(before: Registry, after: Registry) -> dict[str, Any]:
    """Return what a change of the registry is reported with."""
    return {
        "base": after.base,
        "live": after.live,
        "live_version": after.live_version,
        "previous_version": before.live_version,
        "changed": before.live_version != after.live_version,
    }
