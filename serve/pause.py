"""The engine gives its device up for a while, so that a night can train on the only GPU there is."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from foundation.errors import Busy, SettingsError, SpanloopError
from foundation.narration import get_logger
from serve.admission import Admission, Serving
from serve.change import registry
from serve.engines.engine import Engine
from serve.settings import ServeConfig

log = get_logger("serve")

LONGEST_S = 43_200.0
"""After so long it ends by itself, unless asked otherwise: whoever asked for it may have been killed."""

LOOK_EVERY_S = 0.1


class Pause:
    """One pause at a time, and none in the middle of a change.

    An engine that can sleep does, and wakes in seconds; another is stopped and started again.
    """

    def __init__(
        self,
        config: ServeConfig,
        admission: Admission,
        lock: asyncio.Lock,
        prove: Callable[[Serving], Awaitable[None]],
    ) -> None:
        self._config = config
        self._admission = admission
        self._lock = lock
        self._prove = prove
        self._waking: asyncio.Task[None] | None = None
        """Wakes the engine that sleeps, once the pause is over."""

        self._over = asyncio.Event()
        self._over.set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_on(self) -> bool:
        """Tell whether the engine is to stay away."""
        return not self._over.is_set()

    async def over(self) -> None:
        """Wait until the engine may be started again."""
        await self._over.wait()

    async def begin(self, request: dict[str, Any]) -> dict[str, Any]:
        """Let calls in flight end, turn others away, and free the device. Asked again, it lasts so long from now on."""
        async with self._lock:
            if not self.is_on:
                await self._free_device()
            self._set_timer(float(request.get("at_most_s") or LONGEST_S))
        return {"is_paused": True}

    async def _free_device(self) -> None:
        serving = self._admission.serving
        if serving is None:
            raise Busy("the engine is starting", hint="Try again when `spanloop serve status` says it is ready.")
        if (canary := registry.require(self._config.data).canary) is not None:
            raise Busy(
                f"{canary.version} is being tried on a share of the calls",
                hint="Wait until it is decided, or end it with `spanloop serve rollback`.",
            )
        self._over.clear()
        try:
            async with self._admission.turning_away(drain_timeout_s=self._config.drain_timeout_s):
                if await _falls_asleep(serving.engine):
                    self._waking = asyncio.create_task(self._wake(serving))
        except BaseException:
            self._finish()
            raise
        log.info("paused: the engine gave its device up", sleeps=self._waking is not None)

    async def _wake(self, serving: Serving) -> None:
        """Wait for the end of the pause and have the engine answer again: itself, or one started in its place."""
        await self._over.wait()
        self._waking = None
        try:
            await serving.engine.wake()
            await self._prove(serving)
        except Exception as error:  # noqa: BLE001 - whatever it was, serving must go on
            said = error.message.splitlines()[0] if isinstance(error, SpanloopError) else type(error).__name__
            log.warning("the engine did not wake as it fell asleep; it is started again", error=said)
            await serving.engine.stop()
        else:
            self._admission.begin(serving)
            log.info("the engine is awake", version=serving.policy.version)

    def _set_timer(self, at_most_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(at_most_s, self._finish)

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._over.set()

    async def end(self, _: dict[str, Any]) -> dict[str, Any]:
        """Have the engine started again and wait until it answers."""
        self._finish()
        deadline = time.monotonic() + self._config.start_timeout_s
        while self._admission.serving is None:
            if time.monotonic() > deadline:
                raise Busy(
                    f"the engine does not answer yet, {self._config.start_timeout_s:.0f} s after the pause",
                    hint="Look at `spanloop serve status`, and at DATA/serve/engine.log.",
                )
            await asyncio.sleep(LOOK_EVERY_S)
        return {"is_paused": False}


async def _falls_asleep(engine: Engine) -> bool:
    """Have an engine free its device; tell whether it sleeps and may be woken, or has ended."""
    if await engine.sleep():
        return True
    if not engine.is_ours:
        raise SettingsError(
            "vLLM that runs elsewhere is not the gateway's to stop, and it does not sleep",
            hint="Start it with --enable-sleep-mode and VLLM_SERVER_DEV_MODE=1, where only the gateway reaches it.",
        )
    await engine.stop()
    return False
