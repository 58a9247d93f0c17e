"""Users handed over from the hosted model to the student: more and more of them, as long as the student is not worse.

The hosted model is the live arm, the student the canary; judged as checkpoints are. What is worse loses its users to
the hosted model again. The file says how far it went, so that a restart forgets nothing.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foundation.errors import SettingsError
from foundation.files import write_atomically
from foundation.narration import get_logger
from otel_exporter import schema as names
from serve.canary import verdict as canaries
from serve.canary.observations import Observer
from serve.canary.verdict import Tally
from serve.gateway.second import Second
from serve.schema import Canary, Handover, encode_file, handover_path, read_handover
from serve.settings import CanaryConfig

log = get_logger("serve")

STUDENT = "student"
ARMS = (names.HANDOVER_ARM, names.HANDOVER_UNIT)


class HandingOver:
    """Follows the one handover there is."""

    def __init__(self, data: Path, second: Second | None) -> None:
        self._data = data
        self._second = second
        self._watched: tuple[Observer, Tally] | None = None
        self._trouble: str | None = None
        self._unwritten: Handover | None = None
        """What is in force and not on record yet."""

        if second is not None and (found := read_handover(data)) is not None:
            self._take(found, second)

    async def change(self, request: dict[str, Any]) -> dict[str, Any]:
        """Begin a handover, or end it: with `config` as a canary's settings, or null for the hosted model alone."""
        second = self._require()
        if request["config"] is None:
            await self._set(second, Handover(share=0.0, reason="ended by hand", changed_time=_now()))
        else:
            config = CanaryConfig.model_validate(request["config"])
            trial = canaries.begin(Path(STUDENT), STUDENT, config, slow_s=None)
            await self._set(second, Handover(share=trial.share, trial=trial, changed_time=_now()))
        return self.status() or {}

    def status(self) -> dict[str, Any] | None:
        """Return what is known of it; None where nobody began one."""
        found = None if self._second is None else self._unwritten or read_handover(self._data)
        if found is None:
            return None
        tally = Tally() if self._watched is None else self._watched[1]
        metrics = {} if found.trial is None else canaries.describe(tally, found.trial)
        units = 0 if found.trial is None else tally.num_units(found.trial)
        return found.model_dump(mode="json") | {"metrics": metrics, "num_units": units, "trouble": self._trouble}

    async def watch(self, interval_s: float) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.look()
                self._trouble = None
            except Exception as error:  # noqa: BLE001 - whatever the store said, the next look may go well
                if self._trouble is None:
                    log.warning("the handover could not be judged", error=type(error).__name__)
                self._trouble = type(error).__name__

    async def look(self) -> None:
        """Look once, and act on what is seen."""
        if self._unwritten is not None:
            await self._set(self._require(), self._unwritten)
        found = None if self._second is None else read_handover(self._data)
        if found is None or found.trial is None or self._watched is None:
            return
        second, (observer, tally), trial = self._require(), self._watched, found.trial
        tally.add(await asyncio.to_thread(lambda: list(observer.read())))
        if (worse := canaries.find_worse(tally, trial)) is not None:
            reason = f"worse than the hosted model: {worse}"
            await self._set(second, Handover(share=0.0, reason=reason, changed_time=_now()))
        elif canaries.may_widen(tally, trial):
            share = canaries.next_share(trial)
            reason = f"not worse in {tally.num_units(trial)} units at {trial.share:g}"
            wider: Canary | None = None
            if share < 1:
                wider = trial.model_copy(update={"share": share, "share_time": _now()})
            await self._set(second, Handover(share=share, trial=wider, reason=reason, changed_time=_now()))

    async def _set(self, second: Second, now: Handover) -> None:
        """Put it on record, then in force; what is worse loses its users also where the record fails."""
        if now.share == 0:
            self._take(now, second)
            self._unwritten = now
        await asyncio.to_thread(write_atomically, handover_path(self._data), encode_file(now))
        self._take(now, second)
        self._unwritten = None
        log.info("handover", student=now.share, reason=now.reason)

    def _take(self, now: Handover, second: Second) -> None:
        second.share = 1.0 - now.share
        second.salt = None if now.trial is None else now.trial.started_time
        self._watched = None if now.trial is None else (Observer(self._data, now.trial, arms=ARMS), Tally())

    def _require(self) -> Second:
        if self._second is None:
            raise SettingsError("no hosted model stands behind this gateway", hint="spanloop serve run --fallback URL")
        return self._second


def _now() -> str:
    return datetime.now(UTC).isoformat()
