"""A canary from its first share to all calls or none: started, widened, finished, rolled back (`end`), opened again."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from foundation.errors import Busy, SpanloopError
from foundation.narration import get_logger
from serve.admission import Admission, Serving
from serve.canary import verdict as canaries
from serve.canary.course import note
from serve.canary.observations import Observer, find_slow
from serve.canary.verdict import Tally
from serve.change import registry
from serve.change.opening import Opener
from serve.gateway.assignment import Split
from serve.gateway.endpoint import Gateway
from serve.schema import Canary, Registry
from serve.settings import CanaryConfig, ServeConfig

log = get_logger("serve")


class Trial:
    """Tries a checkpoint on a share of the calls. The registry keeps what is tried, the store what came of it."""

    def __init__(self, config: ServeConfig, gateway: Gateway, opener: Opener, lock: asyncio.Lock) -> None:
        self._config = config
        self._gateway = gateway
        self._opener = opener
        self._lock = lock
        """One change at a time, of the live model too."""

        self._observer: Observer | None = None
        self._tally = Tally()
        self._trouble: str | None = None
        self._ending: str | None = None
        """Why a canary was ended whose end is not on record yet."""

        self.draining: Admission | None = None
        """Where the calls of a canary that was ended, or made live, are counted until they end."""

    @property
    def _data(self) -> Path:
        return self._config.data

    @property
    def _live(self) -> Serving | None:
        return self._gateway.admission.serving

    async def start(self, checkpoint: Path, config: CanaryConfig, *, force: bool) -> dict[str, Any]:
        """Open a checkpoint and give it its first share of the calls."""
        before = registry.require(self._data)
        async with self._opener.opened(checkpoint, force=force) as opened:
            slow_s = await asyncio.to_thread(_slow_or_none, self._data)
            canary = canaries.begin(checkpoint, opened.serving.policy.version, config, slow_s=slow_s)
            passed = None if opened.report is None else opened.report.verdict
            after = await asyncio.to_thread(partial(registry.start_canary, self._data, canary, behavior=passed))
        self._give_share(canary, opened.serving)
        log.info("canary", version=canary.version, share=canary.share)
        return registry.change_report(before, after) | {
            "canary": canary.model_dump(mode="json"),
            "behavior": None if opened.report is None else opened.report.model_dump(mode="json"),
            "engine": opened.serving.engine.kind,
        }

    def status(self) -> dict[str, Any] | None:
        """Return what is known of the canary; None when there is none."""
        registered = registry.require(self._data).canary
        if registered is None:
            return None
        split, evidence = self._gateway.split, self._gateway.evidence
        return {
            "version": registered.version,
            "share": registered.share,
            "shares": list(registered.shares),
            "share_time": registered.share_time,
            "is_serving": split is not None and split.admission.serving is not None,
            "num_units": self._tally.num_units(registered),
            "units_wanted": registered.units,
            "metrics": canaries.describe(self._tally, registered),
            "trouble": self._trouble or (None if evidence is None else evidence.trouble),
        }

    async def resume(self) -> None:
        """Open the registered canary again, after a start of the gateway or of its engine."""
        async with self._lock:
            canary = registry.require(self._data).canary
            if canary is None or self._gateway.split is not None or self._ending is not None:
                return
            try:
                async with self._opener.opened(Path(canary.checkpoint), force=True) as opened:
                    self._give_share(canary, opened.serving)
            except SpanloopError as error:
                if self._live is None or not self._live.engine.is_running():
                    return  # no fault of the canary's: it is opened again after the live model
                await self.end(f"it could not be opened again: {error.message.splitlines()[0]}")

    async def set_aside(self) -> None:
        """Let the live model answer everything while an engine is started or stopped; the registry keeps the canary."""
        async with self._lock:
            serving, live = self._take_share(), self._live
            if serving is not None and (live is None or serving.engine is not live.engine):
                await serving.engine.stop()

    async def watch(self) -> None:
        """Look at the canary again and again, and act on what is seen."""
        while True:
            await asyncio.sleep(self._config.canary_interval_s)
            async with self._lock:
                try:
                    await self._look()
                    self._trouble = None
                except Exception as error:  # noqa: BLE001 - whatever the store said, the next look may go well
                    if self._trouble is None:
                        log.warning("the canary could not be judged", error=type(error).__name__)
                    self._trouble = error.message if isinstance(error, SpanloopError) else type(error).__name__

    async def _look(self) -> None:
        if self._ending is not None:
            await self.end(self._ending)
            return
        canary = registry.require(self._data).canary
        if canary is None or self._observer is None:
            return
        split = self._gateway.split
        if split is None or split.admission.serving is None or not split.admission.serving.engine.is_running():
            if self._live is not None:  # else it will be opened again with the live model
                await self.end("its engine ended")
            return
        observed = await asyncio.to_thread(list, self._observer.read())
        self._tally.add(observed)
        if observed:
            await self._note(canary)
        if (reason := canaries.find_worse(self._tally, canary)) is not None:
            await self.end(f"worse than the live model: {reason}")
        elif canaries.may_widen(self._tally, canary):
            share = canaries.next_share(canary)
            reason = f"not worse in {self._tally.num_units(canary)} units at {canary.share:g}"
            if share >= 1:
                await self.finish(reason)
            else:
                after = await asyncio.to_thread(registry.widen_canary, self._data, share, reason)
                assert after.canary is not None, "it was just given a share"
                self._give_share(after.canary, split.admission.serving)
                log.info("canary", version=canary.version, share=share, reason=reason)

    async def _note(self, canary: Canary) -> None:
        measured, num_units = canaries.describe(self._tally, canary), self._tally.num_units(canary)
        await asyncio.to_thread(partial(note, self._data, canary, num_units=num_units, measured=measured))

    def _give_share(self, canary: Canary, serving: Serving) -> None:
        admission = self._gateway.split.admission if self._gateway.split is not None else Admission()
        admission.begin(serving)
        self._gateway.split = Split(admission, canary.share, salt=canary.started_time)
        self._observer, self._tally = Observer(self._data, canary), Tally()

    async def end(self, reason: str) -> Registry:
        """Give all calls to the live model again; those of the canary in flight end where they began.

        What is worse loses its calls also where that cannot be put on record; `watch` tries to until it can.
        """
        self._ending = reason
        try:
            after = await asyncio.to_thread(registry.end_canary, self._data, reason)
            self._ending = None
        finally:
            if (serving := self._take_share()) is not None:
                log.warning("canary ended", reason=reason)
                await self._opener.close(serving, unless=self._live, draining=[self.draining])
        return after

    def refuse_ending(self) -> None:
        """Raise `Busy` while a canary has lost its calls and that is not on record yet."""
        if self._ending is not None:
            raise Busy(
                f"the canary is ending ({self._ending}), which could not be put on record yet",
                hint="See that the registry below DATA can be written; `spanloop serve status` says when it has ended.",
            )

    async def finish(self, reason: str) -> dict[str, Any]:
        """Make the canary live for all calls."""
        split, before = self._gateway.split, registry.require(self._data)
        self.refuse_ending()
        if split is None or split.admission.serving is None or before.canary is None:
            raise Busy("the canary is being started", hint="Try again when `spanloop serve status` says it serves.")
        serving, checkpoint = split.admission.serving, Path(before.canary.checkpoint)
        after = await asyncio.to_thread(
            partial(registry.promote, self._data, checkpoint, serving.policy.version, reason=reason)
        )
        former = self._live
        self._gateway.admission.begin(serving)
        self._take_share()
        self._opener.own(serving, Path(after.live))
        log.info("promote", version=after.live_version, before=before.live_version, reason=reason)
        if former is not None:
            await self._opener.close(former, unless=serving, draining=[self.draining])
        return registry.change_report(before, after) | {
            "paused_s": 0.0,
            "behavior": None,
            "engine": serving.engine.kind,
        }

    def _take_share(self) -> Serving | None:
        split, self._gateway.split = self._gateway.split, None
        self._observer = None
        if split is None:
            return None
        serving = split.admission.serving
        split.admission.suspend()
        self.draining = split.admission
        return serving


def _slow_or_none(data: Path) -> float | None:
    try:
        return find_slow(data)
    except SpanloopError as error:
        log.warning("how long calls take is not on record", error=error.message.splitlines()[0])
        return None
