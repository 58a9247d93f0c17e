"""Changes of what is live while a gateway serves it: checked before, proved after, recorded when in force."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from foundation.errors import Busy, GateRefused, SpanloopError
from foundation.narration import get_logger
from serve import behavior, registry
from serve import canary as canaries
from serve.adapters import is_adapter
from serve.admission import Admission, Serving
from serve.assignment import Split
from serve.behavior import Answer, BehaviorReport
from serve.canary import Tally
from serve.engine import EngineFailed
from serve.gateway import Gateway
from serve.heldout import Prompt, read_prompts
from serve.observations import Observer, find_slow
from serve.parity import check_parity
from serve.sampling import sampling_defaults
from serve.schema import Canary, Registry
from serve.settings import CanaryConfig, ServeConfig
from serve.swap import (
    CheckpointRefused,
    Difference,
    check_compatible,
    check_difference,
    check_gate,
    check_integrity,
    compare,
    describe_policy,
    find_probes,
    swap,
    undo,
)
from train.schema import Probe, weights_digest

log = get_logger("serve")

Action = Literal["promote", "rollback"]


class Changes:
    """Makes checkpoints live, for all calls or for a share of them; one change at a time."""

    def __init__(
        self, config: ServeConfig, gateway: Gateway, start_engine: Callable[[Path, str], Awaitable[Serving]]
    ) -> None:
        self._config = config
        self._gateway = gateway
        self._start_engine = start_engine
        """Starts an engine of its own on a checkpoint, given the name of its log."""

        self._lock = asyncio.Lock()
        self._num_added = 0
        self._observer: Observer | None = None
        self._tally = Tally()
        self._trouble: str | None = None
        self._draining: Admission | None = None
        """Where the calls of a canary that was ended are counted until they end."""

    @property
    def _data(self) -> Path:
        return self._config.data

    @property
    def _admission(self) -> Admission:
        return self._gateway.admission

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
                return await self._finish_canary("promoted by hand")
            # Hashing gigabytes takes seconds: on a thread, so that calls go on meanwhile.
            await asyncio.to_thread(check_promotable, checkpoint, force=force)
            return await self._change(checkpoint, "promote", force=force)

    async def rollback(self, _: dict[str, Any]) -> dict[str, Any]:
        """End the canary where one runs, else return to the checkpoint before; that it behaves is known already."""
        async with self._lock:
            before = registry.require(self._data)
            if before.canary is not None:
                after = await self._end_canary("rolled back by hand")
                return change_report(before, after) | {"canary": before.canary.version, "engine": None}
            target = registry.rollback_target(before)
            await asyncio.to_thread(check_integrity, target, require_manifest=False)
            return await self._change(target, "rollback", force=True)

    async def canary(self, request: dict[str, Any]) -> dict[str, Any]:
        """Give a checkpoint a share of the calls."""
        checkpoint, force = Path(request["checkpoint"]), bool(request.get("force"))
        config = CanaryConfig.model_validate(request["config"])
        async with self._lock:
            before = registry.require(self._data)
            if before.canary is not None and Path(before.canary.checkpoint) == checkpoint:
                return change_report(before, before) | {"canary": before.canary.model_dump(mode="json")}
            if before.canary is not None:
                raise Busy(
                    f"{before.canary.version} is a canary already", hint="End it with `spanloop serve rollback`."
                )
            if Path(before.live) == checkpoint:
                raise CheckpointRefused(f"{before.live_version} is live: there is nothing to compare it with")
            await asyncio.to_thread(check_promotable, checkpoint, force=force)
            serving, _, report = await self._open_beside(checkpoint, force=force)
            slow_s = await asyncio.to_thread(_slow_or_none, self._data)
            canary = canaries.begin(checkpoint, serving.policy.version, config, slow_s=slow_s)
            after = await asyncio.to_thread(registry.start_canary, self._data, canary)
            self._give_share(canary, serving)
        log.info("canary", version=canary.version, share=canary.share)
        return change_report(before, after) | {
            "canary": canary.model_dump(mode="json"),
            "behavior": None if report is None else report.model_dump(mode="json"),
            "engine": serving.engine.kind,
        }

    def canary_status(self) -> dict[str, Any] | None:
        """Return what is known of the canary; None when there is none."""
        registered = registry.require(self._data).canary
        if registered is None:
            return None
        split = self._gateway.split
        return {
            "version": registered.version,
            "share": registered.share,
            "shares": list(registered.shares),
            "share_time": registered.share_time,
            "is_serving": split is not None and split.admission.serving is not None,
            "num_units": self._tally.num_units(registered),
            "units_wanted": registered.units,
            "metrics": canaries.describe(self._tally, registered),
            "trouble": self._trouble,
        }

    # --- the canary, from one look to the next

    async def resume_canary(self) -> None:
        """Open the registered canary again, after a start of the gateway or of its engine."""
        async with self._lock:
            canary = registry.require(self._data).canary
            if canary is None or self._gateway.split is not None:
                return
            try:
                serving, _, _ = await self._open_beside(Path(canary.checkpoint), force=True)
            except SpanloopError as error:
                await self._end_canary(f"it could not be opened again: {error.message.splitlines()[0]}")
                return
            self._give_share(canary, serving)

    async def set_canary_aside(self) -> None:
        """Let the live model answer everything while an engine is started or stopped; the registry keeps the canary."""
        async with self._lock:
            serving, live = self._take_share(), self._admission.serving
            if serving is not None and (live is None or serving.engine is not live.engine):
                await serving.engine.stop()

    async def watch_canary(self) -> None:
        """Look at the canary again and again, and act on what is seen."""
        while True:
            await asyncio.sleep(self._config.canary_interval_s)
            async with self._lock:
                try:
                    await self._look()
                    self._trouble = None
                except SpanloopError as error:
                    if self._trouble is None:
                        log.warning("the canary could not be judged", error=error.message.splitlines()[0])
                    self._trouble = error.message

    async def _look(self) -> None:
        canary = registry.require(self._data).canary
        if canary is None or self._observer is None:
            return
        split = self._gateway.split
        if split is None or split.admission.serving is None or not split.admission.serving.engine.is_running():
            if self._admission.serving is not None:  # else it will be opened again with the live model
                await self._end_canary("its engine ended")
            return
        self._tally.add(await asyncio.to_thread(list, self._observer.read()))
        if (reason := canaries.find_worse(self._tally, canary)) is not None:
            await self._end_canary(f"worse than the live model: {reason}")
        elif canaries.may_widen(self._tally, canary):
            share = canaries.next_share(canary)
            reason = f"not worse in {self._tally.num_units(canary)} units at {canary.share:g}"
            if share >= 1:
                await self._finish_canary(reason)
            else:
                after = await asyncio.to_thread(registry.widen_canary, self._data, share, reason)
                assert after.canary is not None, "it was just given a share"
                self._give_share(after.canary, split.admission.serving)
                log.info("canary", version=canary.version, share=share, reason=reason)

    def _give_share(self, canary: Canary, serving: Serving) -> None:
        admission = self._gateway.split.admission if self._gateway.split is not None else Admission()
        admission.begin(serving)
        self._gateway.split = Split(admission, canary.share, salt=canary.started_time)
        self._observer, self._tally = Observer(self._data, canary), Tally()

    async def _end_canary(self, reason: str) -> Registry:
        """Give all calls to the live model again; those of the canary in flight end where they began."""
        after = await asyncio.to_thread(registry.end_canary, self._data, reason)
        log.warning("canary ended", reason=reason)
        if (serving := self._take_share()) is not None:
            await self._close(serving, unless=self._admission.serving)
        return after

    async def _finish_canary(self, reason: str) -> dict[str, Any]:
        """Make the canary live for all calls."""
        split, before = self._gateway.split, registry.require(self._data)
        if split is None or split.admission.serving is None or before.canary is None:
            raise Busy("the canary is being started", hint="Try again when `spanloop serve status` says it serves.")
        serving, checkpoint = split.admission.serving, Path(before.canary.checkpoint)
        after = await asyncio.to_thread(
            partial(registry.promote, self._data, checkpoint, serving.policy.version, reason=reason)
        )
        former = self._admission.serving
        self._admission.begin(serving)
        self._take_share()
        self._own(serving, Path(after.live))
        log.info("promote", version=after.live_version, before=before.live_version, reason=reason)
        if former is not None:
            await self._close(former, unless=serving)
        return change_report(before, after) | {"paused_s": 0.0, "behavior": None, "engine": serving.engine.kind}

    def _take_share(self) -> Serving | None:
        split, self._gateway.split = self._gateway.split, None
        self._observer = None
        if split is None:
            return None
        serving = split.admission.serving
        split.admission.suspend()
        self._draining = split.admission
        return serving

    # --- how the live model changes

    async def _change(self, target: Path, action: Action, *, force: bool) -> dict[str, Any]:
        serving = self._admission.serving
        if serving is None:
            raise Busy("the engine is starting", hint="Try again when `spanloop serve status` says it is ready.")
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
        serving, difference, report = await self._open_beside(target, force=force)
        after = await asyncio.to_thread(self._record, action, target, serving.policy.version, report)
        self._admission.begin(serving)
        self._own(serving, target)
        log.info(action, version=after.live_version, before=before.live_version)
        if former is not None:
            await self._close(former, unless=serving)
        return self._report(before, after, serving, difference, report, paused_s=0.0)

    async def _open_beside(self, target: Path, *, force: bool) -> tuple[Serving, Difference, BehaviorReport | None]:
        """Open a checkpoint beside the live model, in its engine or in another, and prove it; on failure close it."""
        former = self._admission.serving
        if former is None:
            raise Busy("the engine is starting", hint="Try again when `spanloop serve status` says it is ready.")
        policy = await asyncio.to_thread(describe_policy, target)
        probes = await asyncio.to_thread(find_probes, self._data, target)
        if not probes:
            raise CheckpointRefused(f"{target} has no probes to tell its weights by", hint="Restart the gateway on it.")
        engine, dtype = former.engine, "unknown"
        if target == engine.model:
            serving = Serving(engine, engine.name, policy)  # back from an adapter to the base it was over
        elif await asyncio.to_thread(engine.can_add, target):
            self._num_added += 1
            # A name is never used twice: an engine may keep what it computed under it.
            name = f"{engine.name.partition('+')[0]}+{policy.version}.{self._num_added}"
            dtype = await engine.add(target, name)
            serving = Serving(engine, name, policy)
        elif engine.is_ours:
            serving = await self._start_engine(target, "engine-beside.log")
        else:
            raise CheckpointRefused(
                f"replicas that run elsewhere hold one set of weights: {target.name} cannot be opened beside it",
                hint="Change the weights in place (`spanloop serve promote`), or let the gateway start the engine.",
            )
        try:
            difference = await compare(serving.engine, probes, serving.model)
            check_difference(difference, dtype, target)
            await check_parity(serving.engine, probes, dtype, serving.model)
            gate = Gate(self._config, await self._prompts(force=force))
            await gate.ask_before(former)
            report = await gate.ask_after(former, serving, target)
            await self._judge(report, policy.version)
        except BaseException:
            await self._close(serving, unless=former)
            raise
        return serving, difference, report

    def _own(self, serving: Serving, target: Path) -> None:
        """Let an engine that holds several models know which of them is its own from now on."""
        if not is_adapter(target):
            serving.engine.name, serving.engine.model = serving.model, target

    async def _close(self, serving: Serving, *, unless: Serving | None) -> None:
        """Wait until nothing is answered with a model any more, then forget it: alone, or with its engine."""
        for admission in (self._admission, self._draining):
            if admission is not None:
                await admission.drained(serving, timeout_s=self._config.drain_timeout_s)
        if unless is None or serving.engine is not unless.engine:
            await serving.engine.stop()
        elif serving.model not in (unless.model, serving.engine.name):
            await serving.engine.remove(serving.model)

    async def _change_in_place(self, target: Path, action: Action, *, force: bool) -> dict[str, Any]:
        before = registry.require(self._data)
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
            difference, report = await self._swap(former, now, target, probes, Path(before.live), gate)
            after = await asyncio.to_thread(self._record, action, target, policy.version, report)
            self._admission.begin(now)
            paused_s = time.monotonic() - began
        log.info(action, version=after.live_version, before=before.live_version, paused_s=round(paused_s, 3))
        return self._report(before, after, now, difference, report, paused_s=paused_s)

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
            try:
                await check_parity(now.engine, probes, "unknown")
                report = await gate.ask_after(former, now, target)
                await self._judge(report, now.policy.version)
            except GateRefused:
                await undo(now.engine, serving)
                raise
        except EngineFailed:
            # Nobody knows which weights it has now: a fresh one loads what the registry says is live.
            self._admission.suspend()
            await former.engine.stop()
            raise
        return difference, report

    # --- what both ways share

    async def _prompts(self, *, force: bool) -> list[Prompt]:
        """Return what to ask; nothing where the outcome would change nothing."""
        if force:
            return []
        return await asyncio.to_thread(read_prompts, self._data, self._config.gate_prompts)

    async def _judge(self, report: BehaviorReport | None, version: str) -> None:
        """Keep a report, and raise when it did not pass."""
        if report is not None:
            await asyncio.to_thread(behavior.keep_report, self._data, version, report)
            behavior.check_report(report, version)

    def _record(self, action: Action, target: Path, version: str, report: BehaviorReport | None) -> Registry:
        passed = None if report is None else report.passed
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
        return change_report(before, after) | {
            "paused_s": round(paused_s, 4),
            "probe_mean_difference": difference.mean,
            "probe_max_difference": difference.max,
            "probe_num_tokens": difference.num_tokens,
            "probe_shift": difference.shift,
            "behavior": None if report is None else report.model_dump(mode="json"),
            "engine": serving.engine.kind,
        }


def _slow_or_none(data: Path) -> float | None:
    try:
        return find_slow(data)
    except SpanloopError as error:
        log.warning("how long calls take is not on record", error=error.message.splitlines()[0])
        return None


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
