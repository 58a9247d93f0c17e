"""Versions of prompts that are tried on a share of the calls: looked at, widened, made live, ended. One an agent.

Judged as checkpoints are, by the same observations and the same test; nothing has to be opened or closed for it.
"""

import asyncio
from pathlib import Path
from typing import Any

from foundation.errors import Busy, SpanloopError
from foundation.narration import get_logger
from serve.canary import verdict as canaries
from serve.canary.observations import Observer
from serve.canary.verdict import Tally
from serve.prompts import registry
from serve.prompts.loading import load
from serve.prompts.prompting import Prompting
from serve.schema import Canary

log = get_logger("serve")


class PromptTrials:
    """Follows every prompt's canary. The registry of prompts keeps what is tried, the store what came of it."""

    def __init__(self, data: Path, prompting: Prompting) -> None:
        self._data = data
        self._prompting = prompting
        self._watched: dict[str, tuple[Canary, Observer, Tally]] = {}
        self._trouble: dict[str, str] = {}

    async def reload(self, _: dict[str, Any]) -> dict[str, Any]:
        """Take what the registry says now; conversations that began go on as they began."""
        self._prompting.take(await asyncio.to_thread(load, self._data))
        return {"agents": {name: known.prompt.live for name, known in self._prompting.known.items()}}

    def status(self) -> dict[str, Any]:
        """Return what is known of each agent's prompt, its canary included."""
        return {name: self._status_of(name) for name in self._prompting.known}

    def _status_of(self, agent: str) -> dict[str, Any]:
        prompt = self._prompting.known[agent].prompt
        found: dict[str, Any] = {
            "live": prompt.live,
            "num_unknown": self._prompting.num_unknown[agent],
            "canary": None,
            "trouble": self._trouble.get(agent),
        }
        if prompt.canary is not None:
            watched = self._watched.get(agent)
            tally = Tally() if watched is None else watched[2]
            found["canary"] = prompt.canary.model_dump(mode="json") | {
                "num_units": tally.num_units(prompt.canary),
                "metrics": canaries.describe(tally, prompt.canary),
            }
        return found

    async def look(self) -> None:
        """Look at every canary once, and act on what is seen."""
        for agent, known in list(self._prompting.known.items()):
            canary = known.prompt.canary
            if canary is None:
                self._watched.pop(agent, None)
                continue
            try:
                if await self._look(agent, canary):
                    await self.reload({})
                self._trouble.pop(agent, None)
            except Busy:
                continue  # somebody else changes prompts: the next look sees what came of it
            except Exception as error:  # noqa: BLE001 - whatever the store said, the next look may go well
                said = error.message if isinstance(error, SpanloopError) else type(error).__name__
                if agent not in self._trouble:
                    log.warning("a prompt's canary could not be judged", agent=agent, error=said)
                self._trouble[agent] = said

    async def _look(self, agent: str, canary: Canary) -> bool:
        """Look at one; tell whether anything was changed."""
        watched = self._watched.get(agent)
        if watched is None or watched[0].share_time != canary.share_time:
            watched = self._watched[agent] = canary, Observer(self._data, canary, prompt=agent), Tally()
        _, observer, tally = watched
        tally.add(await asyncio.to_thread(lambda: list(observer.read())))
        if (worse := canaries.find_worse(tally, canary)) is not None:
            reason = f"worse than the live version: {worse}"
            await asyncio.to_thread(registry.end_canary, self._data, agent, reason)
        elif canaries.may_widen(tally, canary):
            share = canaries.next_share(canary)
            reason = f"not worse in {tally.num_units(canary)} units at {canary.share:g}"
            if share >= 1:
                version = int(canary.version)
                await asyncio.to_thread(lambda: registry.promote(self._data, agent, version, reason=reason))
            else:
                await asyncio.to_thread(registry.widen_canary, self._data, agent, share, reason)
        else:
            return False
        log.info("prompt", agent=agent, version=canary.version, reason=reason)
        return True

    async def watch(self, interval_s: float) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(interval_s)
            await self.look()
