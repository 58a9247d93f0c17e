"""The serving process: gateway in front, engine behind, and whatever changes between the two."""

import asyncio
import contextlib
import secrets
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from os import getpid
from pathlib import Path
from typing import Any

from aiohttp import web

from foundation.files import exclusive, write_atomically
from foundation.narration import get_logger
from foundation.process import allow_many_files, notify_supervisor
from foundation.web.keys import KeyRing
from foundation.web.listening import bracket, tls_context
from otel_exporter.schema import GATEWAY_SCOPE
from serve.admission import Serving
from serve.canary.handover import HandingOver
from serve.canary.prompt_trials import PromptTrials
from serve.change import control, registry
from serve.change.incoming import Incoming
from serve.changes import Changes
from serve.engines.engine import Engine, EngineFailed
from serve.evidence.delivery import Delivery
from serve.evidence.spans import make_provider
from serve.gateway.access import Access, has_admins
from serve.gateway.addresses import bind, check_address, check_control_address
from serve.gateway.endpoint import Gateway
from serve.preparation import make_delivery, make_second, prepare_registry
from serve.prompts.loading import leave, open_prompting
from serve.sampling import sampling_defaults
from serve.schema import Registry, ServerInfo, encode_file, lock_path, server_path
from serve.settings import ServeConfig
from serve.starting import EngineStarter

log = get_logger("serve")

STOP_GRACE_S = 10.0
"""How long answers in flight may go on after SIGTERM."""

FLUSH_TIMEOUT_S = 5.0
"""How long the last spans may take to leave."""

FEW_FILES = 4096

SWITCH_INTERVAL_S = 0.0002
"""How long the thread that encodes spans may keep Python to itself while an answer waits to be passed on. Encoding a
batch takes tens of milliseconds; at Python's own 5 ms every token that comes meanwhile would wait that long."""

MAX_RESTARTS = 5
"""Starts in a row that may fail before the process gives up and leaves it to its own supervisor."""


class Server:
    """One gateway, its engine and the changes made to them."""

    def __init__(
        self,
        config: ServeConfig,
        live: Registry,
        url: str,
        evidence: Delivery,
        engine_arguments: tuple[str, ...],
    ) -> None:
        self.config = config
        self.url = url
        self.starter = EngineStarter(config, live.base, engine_arguments)
        self.evidence = evidence
        self.gateway = Gateway(
            live.base,
            sampling_defaults(Path(live.live)),
            make_provider(evidence).get_tracer(GATEWAY_SCOPE),
            evidence=evidence,
            strict_tools=config.strict_tools,
            access=Access(config.data),
            media_domains=config.allowed_media_domains,
            allowed_origins=config.cors_allowed_origins,
            aliases=config.known_as,
        )
        self.prompts: PromptTrials | None = None
        self.handing_over: HandingOver | None = None
        self.changes = Changes(config, self.gateway, self.starter.open, self._prove)

    @property
    def data(self) -> Path:
        """Directory that holds the registry."""
        return self.config.data

    async def _prove(self, serving: Serving) -> None:
        """Check that an engine answers as the live checkpoint should."""
        await self.starter.prove(serving, registry.live_directory(registry.require(self.data)))

    async def start_engine(self) -> Engine:
        """Start an engine on the live checkpoint, prove that it answers as it should, and let calls in."""
        live = registry.require(self.data)
        began = time.monotonic()
        directory = registry.live_directory(live)
        log.info("the engine starts", version=live.live_version)
        serving = await self.starter.open(directory, "engine.log")
        engine = serving.engine
        try:
            await self.starter.prove(serving, directory)
        except BaseException:
            await engine.stop()
            raise
        self.gateway.admission.begin(serving)
        notify_supervisor("READY=1")
        log.info(
            "ready",
            url=f"{self.url}/v1",
            model=self.gateway.model_names[0],
            engine=engine.provider,
            version=live.live_version,
            after_s=round(time.monotonic() - began, 1),
        )
        return engine

    async def keep_engine(self) -> None:
        """Keep an engine running; return only by an exception, when it can no longer be started."""
        engine = await self._start_until_it_does(1)
        try:
            while True:
                # A canary may take as long to open as the live model did; that one's end must not go unseen meanwhile.
                resuming = asyncio.create_task(self.changes.trial.resume())
                try:
                    await engine.ended()
                finally:
                    resuming.cancel()
                    await asyncio.wait({resuming})
                serving = self.gateway.admission.serving
                if serving is not None and serving.engine is not engine:
                    engine = serving.engine  # another has taken over, and this one was stopped
                    continue
                if self.changes.pause.is_on:
                    await self.changes.pause.over()
                else:
                    self.gateway.admission.suspend()
                    await self.changes.trial.set_aside()
                    ended = "hung" if engine.is_hung else "ended"
                    log.warning(
                        f"the engine {ended}; starting it again", status=engine.exit_status(), log=str(engine.log)
                    )
                    await engine.stop()
                engine = await self._start_until_it_does(MAX_RESTARTS)
        finally:
            if (serving := self.gateway.admission.serving) is not None:
                engine = serving.engine
            self.gateway.admission.suspend()
            await self.changes.trial.set_aside()
            await engine.stop()

    async def _start_until_it_does(self, attempts: int) -> Engine:
        """Start an engine, with growing pauses; give up after so many attempts, but for a hosted model that answers."""
        failures = 0
        while True:
            await asyncio.sleep(min(30.0, 2.0 ** min(failures, 5) - 1))
            try:
                return await self.start_engine()
            except EngineFailed as error:
                failures += 1
                if failures >= attempts and self.gateway.second is None:
                    raise
                log.warning("the engine does not start", error=error.message.splitlines()[0], failures=failures)

    async def status(self, _: dict[str, Any]) -> dict[str, Any]:
        """Say what is being served."""
        policy = self.gateway.admission.policy
        live = registry.require(self.data)
        return {
            "registry": live.model_dump(mode="json"),
            "behavior": registry.behavior_of(self.data, live),
            "url": self.url,
            "engine": self.starter.kind.kind,
            "is_ready": policy is not None,
            "is_paused": self.changes.pause.is_on,
            "serving_version": None if policy is None else policy.version,
            "num_in_flight": self.gateway.admission.num_in_flight,
            "num_answered": self.gateway.num_answered,
            "num_failed": self.gateway.num_failed,
            "fallback": None if (second := self.gateway.second) is None else second.hosted.model,
            "num_fallback": 0 if second is None else second.reasons.total(),
            "canary": self.changes.trial.status(),
            "handover": None if self.handing_over is None else self.handing_over.status(),
            "prompts": {} if self.prompts is None else self.prompts.status(),
            **self.evidence.counts(),
            "evidence_trouble": self.evidence.trouble,
        }


# --- the process


def run(config: ServeConfig, engine_arguments: tuple[str, ...] = ()) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    if (limit := allow_many_files()) < FEW_FILES:
        log.warning("few calls can be answered at once: each holds two files", limit=limit, setting="LimitNOFILE")
    check_address(config, has_keys=Access(config.data).has_keys)
    tls = tls_context(config.tls_cert, config.tls_key)
    with (
        exclusive(lock_path(config.data), purpose="spanloop serve run"),
        bind(config.listen) as listener,
        contextlib.ExitStack() as stack,
    ):
        controller = None
        if config.control_listen is not None:
            check_control_address(config, config.control_listen, has_keys=has_admins(config.data))
            controller = stack.enter_context(bind(config.control_listen, "--control-listen"))
        live = prepare_registry(config)
        with asyncio.Runner(loop_factory=_event_loop()) as runner:
            runner.run(_run(config, live, listener, controller, tls, engine_arguments))


def _event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop, which spends less on a call; null, for Python's own, where it is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(
    config: ServeConfig,
    live: Registry,
    listener: socket.socket,
    controller: socket.socket | None,
    tls: ssl.SSLContext | None,
    engine_arguments: tuple[str, ...],
) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    evidence = make_delivery(config)
    second = make_second(config)
    prompting = open_prompting(config.data)
    host, port = listener.getsockname()[:2]  # the port may have been ours to choose
    url = f"{'http' if tls is None else 'https'}://{bracket(host)}:{port}"
    server = Server(config, live, url, evidence, engine_arguments)
    server.gateway.second = second
    server.gateway.prompting = prompting
    prompts = server.prompts = PromptTrials(config.data, prompting)
    handing_over = server.handing_over = HandingOver(config.data, second)
    token = secrets.token_urlsafe(32)
    actions: dict[str, control.Action] = {
        "promote": server.changes.promote,
        "rollback": server.changes.rollback,
        "canary": server.changes.canary,
        "status": server.status,
        "prompts": prompts.reload,
        "pause": server.changes.pause.begin,
        "resume": server.changes.pause.end,
        "handover": handing_over.change,
    }
    front = web.AppRunner(
        server.gateway.make_app(), handler_cancellation=True, access_log=None, shutdown_timeout=STOP_GRACE_S
    )
    keys = KeyRing(config.data)
    back = web.AppRunner(control.make_app(token, actions, Incoming(config.data), keys), access_log=None)
    keeping = asyncio.create_task(server.keep_engine())
    watching = asyncio.create_task(server.changes.trial.watch())
    handing = asyncio.create_task(handing_over.watch(config.canary_interval_s))
    judging = asyncio.create_task(prompts.watch(config.canary_interval_s))
    try:
        await front.setup()
        await back.setup()
        await web.SockSite(front, listener, ssl_context=tls).start()
        control_site = web.TCPSite(back, "127.0.0.1", 0)
        await control_site.start()
        control_port = back.addresses[0][1]
        if controller is not None:
            await web.SockSite(back, controller, ssl_context=tls).start()
        info = ServerInfo(
            pid=getpid(),
            url=url,
            control_url=f"http://127.0.0.1:{control_port}",
            control_token=token,
            engine=server.starter.kind.kind,
            base=live.base,
            started_time=datetime.now(UTC).isoformat(),
        )
        write_atomically(server_path(config.data), encode_file(info))
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait({waiting, keeping}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if keeping.done():
            await keeping  # raises what ended it
        notify_supervisor("STOPPING=1")
        log.info("stopping", in_flight=server.gateway.admission.num_in_flight)
    finally:
        with contextlib.suppress(OSError):  # a stale one names a process that is gone
            server_path(config.data).unlink(missing_ok=True)
        await front.cleanup()
        await back.cleanup()
        if second is not None:
            await second.close()
        for task in (watching, judging, handing, keeping):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        leave(config.data, prompting)
        await asyncio.to_thread(evidence.close, FLUSH_TIMEOUT_S)
