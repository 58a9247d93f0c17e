"""Changes of what is live while a gateway serves it: checked before, proved after, recorded when in force."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from foundation.errors import Busy
from foundation.narration import get_logger
from serve.admission import Serving
from serve.canary.trial import Trial
from serve.change import registry
from serve.change.behavior import BehaviorReport
from serve.change.integrity import CheckpointRefused, check_compatible, check_gate, check_integrity
from serve.change.opening import Opener, keep_and_check, make_gate
from serve.change.parity import check_parity
from serve.change.policy import describe_policy
from serve.change.probes import find_probes
from serve.change.proof import Difference, score_all
from serve.change.swap import swap, undone_on_error
from serve.engines.adapters import is_adapter
from serve.engines.engine import EngineFailed
from serve.gateway.endpoint import Gateway
from serve.pause import Pause
from serve.schema import Registry
from serve.settings import CanaryConfig, ServeConfig

log = get_logger("serve")

Action = Literal["promote", "rollback"]


class Changes:
    """Makes checkpoints live, for all calls or for a share of them; one change at a time."""

    def __init__(
        self,
        config: ServeConfig,
        gateway: Gateway,
        start_engine: Callable[[Path, str], Awaitable[Serving]],
        prove: Callable[[Serving], Awaitable[None]],
    ) -> None:
        self._config = config
        self._admission = gateway.admission
        self._lock = asyncio.Lock()
        self._opener = Opener(config, gateway.admission, start_engine)
        self.trial = Trial(config, gateway, self._opener, self._lock)
        self.pause = Pause(config, gateway.admission, self._lock, prove)

    @property
    def _data(self) -> Path:
        return self._config.data

    # --- as the control endpoint offers them

    async def promote(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make a checkpoint live; the canary, where it is that one, at once."""
        checkpoint = Path(request["checkpoint"])
        force = bool(request.get("force"))
        async with self._lock:
            canary = registry.require(self._data).canary
            if canary is not None:
                if Path(canary.checkpoint) != checkpoint:
                    raise Busy(
                        f"{canary.version} is being tried on a share of the calls",
                        hint="Promote that one, or end it with `spanloop serve rollback`.",
                    )
                return await self.trial.finish("promoted by hand")
            # Hashing gigabytes takes seconds: on a thread, so that calls go on meanwhile.
            await asyncio.to_thread(check_promotable, checkpoint, force=force)
            return await self._change(checkpoint, "promote", force=force)

    async def rollback(self, _: dict[str, Any]) -> dict[str, Any]:
        """End the canary where one runs, else return to the checkpoint before; that it behaves is known already."""
        async with self._lock:
            before = registry.require(self._data)
            if before.canary is not None:
                after = await self.trial.end("rolled back by hand")
                return registry.change_report(before, after) | {"canary": before.canary.version, "engine": None}
            target = registry.rollback_target(before)
            await asyncio.to_thread(check_integrity, target, require_manifest=False)
            return await self._change(target, "rollback", force=True)

    async def canary(self, request: dict[str, Any]) -> dict[str, Any]:
        """Give a checkpoint a share of the calls; one that has it already keeps it."""
        checkpoint, force = Path(request["checkpoint"]), bool(request.get("force"))
        config = CanaryConfig.model_validate(request["config"])
        async with self._lock:
            before = registry.require(self._data)
            self.trial.refuse_ending()
            if before.canary is not None and Path(before.canary.checkpoint) == checkpoint:
                return registry.change_report(before, before) | {"canary": before.canary.model_dump(mode="json")}
            if before.canary is not None:
                raise Busy(
                    f"{before.canary.version} is a canary already", hint="End it with `spanloop serve rollback`."
                )
            if Path(before.live) == checkpoint:
                raise CheckpointRefused(f"{before.live_version} is live: there is nothing to compare it with")
            await asyncio.to_thread(partial(check_promotable, checkpoint, force=force, is_canary=True))
            return await self.trial.start(checkpoint, config, force=force)

    # --- how the live model changes

    def _require_serving(self) -> Serving:
        serving = self._admission.serving
        if serving is None:
            raise Busy("the engine is starting", hint="Try again when `spanloop serve status` says it is ready.")
        return serving

    async def _change(self, target: Path, action: Action, *, force: bool) -> dict[str, Any]:
        serving = self._require_serving()
        if serving.model != serving.engine.name or is_adapter(target):
            return await self._take_over(target, action, force=force)
        try:
            await asyncio.to_thread(check_compatible, target, serving.engine.model)
        except CheckpointRefused:
            if not serving.engine.is_ours:
                raise
            return await self._take_over(target, action, force=force)
        return await self._change_in_place(target, action, force=force)

    async def _take_over(self, target: Path, action: Action, *, force: bool) -> dict[str, Any]:
        """Open the target beside the live model, prove it, send new calls there; the old ones end where they began."""
        before = registry.require(self._data)
        former = self._admission.serving
        async with self._opener.opened(target, force=force) as opened:
            serving = opened.serving
            after = await asyncio.to_thread(self._record, action, target, serving.policy.version, opened.report)
        self._admission.begin(serving)
        self._opener.own(serving, target)
        log.info(action, version=after.live_version, before=before.live_version)
        if former is not None:
            await self._opener.close(former, unless=serving, draining=[self.trial.draining])
        return self._report(before, after, serving, opened.difference, opened.report, paused_s=0.0)

    async def _change_in_place(self, target: Path, action: Action, *, force: bool) -> dict[str, Any]:
        before = registry.require(self._data)
        policy = await asyncio.to_thread(describe_policy, target)
        probes = await asyncio.to_thread(find_probes, self._data, target)
        if not probes:
            raise CheckpointRefused(f"{target} has no probes to tell its weights by", hint="Restart the gateway on it.")
        gate = await make_gate(self._config, force=force)
        former = self._require_serving()
        await gate.ask_before(former)
        scores = await score_all(former.engine, probes)
        async with self._admission.changing(drain_timeout_s=self._config.drain_timeout_s):
            former = self._require_serving()
            began = time.monotonic()
            now = Serving(former.engine, former.model, policy)
            try:
                async with undone_on_error(former.engine):
                    difference = await swap(former.engine, target, probes, before=scores)
                    await check_parity(former.engine, probes, "unknown")
                    report = await gate.ask_after(former, now, target)
                    await keep_and_check(self._data, report, policy.version)
                    after = await asyncio.to_thread(self._record, action, target, policy.version, report)
            except EngineFailed:
                # Nobody knows which weights it has now: a fresh one loads what the registry says is live.
                self._admission.suspend()
                await former.engine.stop()
                raise
            self._admission.begin(now)
            paused_s = time.monotonic() - began
        log.info(action, version=after.live_version, before=before.live_version, paused_s=round(paused_s, 3))
        return self._report(before, after, now, difference, report, paused_s=paused_s)

    # --- what both ways share

    def _record(self, action: Action, target: Path, version: str, report: BehaviorReport | None) -> Registry:
        passed = None if report is None else report.verdict
        change = registry.promote if action == "promote" else registry.rollback
        return change(self._data, target, version, behavior=passed)

    def _report(
        self,
        before: Registry,
        after: Registry,
        serving: Serving,
        difference: Difference,
        report: BehaviorReport | None,
        *,
        paused_s: float,
    ) -> dict[str, Any]:
        return registry.change_report(before, after) | {
            "paused_s": round(paused_s, 4),
            "probe_mean_difference": difference.mean,
            "probe_max_difference": difference.max,
            "probe_num_tokens": difference.num_tokens,
            "probe_shift": difference.shift,
            "behavior": None if report is None else report.model_dump(mode="json"),
            "engine": serving.engine.kind,
        }


def check_promotable(checkpoint: Path, *, force: bool, is_canary: bool = False) -> None:
    """Check everything about a checkpoint that can be known without an engine."""
    manifest = check_integrity(checkpoint)
    assert manifest is not None, "a checkpoint without a manifest was refused"
    if not force:
        check_gate(checkpoint, manifest, is_canary=is_canary)
