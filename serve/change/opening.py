"""Opens a checkpoint beside the one that serves, in its engine or another, and proves it before any call goes there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import Busy
from foundation.narration import get_logger
from serve.admission import Admission, Serving
from serve.change import behavior
from serve.change.behavior import Answer, BehaviorReport
from serve.change.heldout import Prompt, read_prompts
from serve.change.integrity import CheckpointRefused
from serve.change.parity import check_parity
from serve.change.policy import describe_policy
from serve.change.probes import find_probes
from serve.change.proof import Difference, check_difference, compare
from serve.engines.adapters import is_adapter
from serve.engines.engine import EngineFailed
from serve.sampling import sampling_defaults
from serve.settings import ServeConfig
from train.schema import weights_digest

log = get_logger("serve")


@dataclass(frozen=True)
class Opened:
    """A checkpoint that is ready to take calls."""

    serving: Serving
    difference: Difference
    report: BehaviorReport | None
    """What the gate on behavior found; null where it was not asked."""


class Opener:
    """Opens and closes checkpoints beside the live one."""

    def __init__(
        self, config: ServeConfig, admission: Admission, start_engine: Callable[[Path, str], Awaitable[Serving]]
    ) -> None:
        self._config = config
        self._admission = admission
        self._start_engine = start_engine
        """Starts an engine of its own on a checkpoint, given the name of its log."""

        self._num_added = 0
        self._closing: set[asyncio.Future[None]] = set()

    @contextlib.asynccontextmanager
    async def opened(self, target: Path, *, force: bool) -> AsyncIterator[Opened]:
        """Open and prove a checkpoint, and run the block that puts it on record; where that fails, close it."""
        opened = await self._open(target, force=force)
        try:
            yield opened
        except BaseException:
            await self.close(opened.serving, unless=self._admission.serving)
            raise

    async def _open(self, target: Path, *, force: bool) -> Opened:
        """Open a checkpoint beside the live model, in its engine or in another, and prove it; on failure close it."""
        former = self._admission.serving
        if former is None:
            raise Busy("the engine is starting", hint="Try again when `spanloop serve status` says it is ready.")
        policy = await asyncio.to_thread(describe_policy, target)
        probes = await asyncio.to_thread(find_probes, self._config.data, target)
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
            gate = await make_gate(self._config, force=force)
            await gate.ask_before(former)
            report = await gate.ask_after(former, serving, target)
            await keep_and_check(self._config.data, report, policy.version)
        except BaseException:
            await self.close(serving, unless=former)
            raise
        return Opened(serving, difference, report)

    @staticmethod
    def own(serving: Serving, target: Path) -> None:
        """Let an engine that holds several models know which of them is its own from now on."""
        if not is_adapter(target):
            serving.engine.name, serving.engine.model = serving.model, target

    async def close(
        self, serving: Serving, *, unless: Serving | None, draining: Sequence[Admission | None] = ()
    ) -> None:
        """Wait until nothing is answered with a model any more, then forget it: alone, or with its engine.

        What `unless` answers with stays. `draining` are admissions beside the live one that may still have its calls.
        """
        closing = asyncio.ensure_future(self._close(serving, unless, draining))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        await asyncio.wait({closing}, timeout=self._config.drain_timeout_s)
        if closing.done():
            closing.result()
        else:
            log.warning("calls go on in a model that was replaced; it is closed when they end", model=serving.model)

    async def _close(self, serving: Serving, unless: Serving | None, draining: Sequence[Admission | None]) -> None:
        for admission in (self._admission, *draining):
            if admission is not None:
                await admission.drained(serving)
        if unless is None or serving.engine is not unless.engine:
            await serving.engine.stop()
        elif serving.model not in (unless.model, serving.engine.name):
            try:
                await serving.engine.remove(serving.model)
            except EngineFailed as error:
                log.warning("a model that was replaced could not be removed", error=error.message.splitlines()[0])


async def make_gate(config: ServeConfig, *, force: bool) -> "Gate":
    """Return the gate of one change; one that asks nothing where its outcome would change nothing."""
    return Gate(config, [] if force else await asyncio.to_thread(read_prompts, config.data, config.gate_prompts))


async def keep_and_check(data: Path, report: BehaviorReport | None, version: str) -> None:
    """Keep a report, and raise when it did not pass."""
    if report is not None:
        await asyncio.to_thread(behavior.keep_report, data, version, report)
        behavior.check_report(report, version)


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
