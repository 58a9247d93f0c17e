"""The serving process: gateway in front, engine behind, and whatever changes between the two."""

import asyncio
import contextlib
import errno
import ipaddress
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from os import getpid
from pathlib import Path
from typing import Any

from aiohttp import web

from foundation.errors import Busy, SettingsError
from foundation.files import exclusive, write_atomically
from foundation.models import find_model, model_name
from foundation.narration import get_logger
from foundation.process import allow_many_files, notify_supervisor
from otel_exporter.schema import GATEWAY_SCOPE
from serve.admission import Serving
from serve.change import control, registry
from serve.change.parity import check_parity, check_processed
from serve.change.swap import (
    check_difference,
    check_integrity,
    compare,
    describe_policy,
    find_probes,
    is_within,
    record_probes,
)
from serve.changes import Changes
from serve.engines import vllm
from serve.engines.adapters import adapter_rank, is_adapter, whole_model
from serve.engines.engine import Engine, EngineFailed
from serve.engines.transformers_engine import EmbeddedEngine
from serve.engines.upstream import UpstreamEngine
from serve.evidence.delivery import Delivery
from serve.evidence.own_keys import OwnKeys
from serve.evidence.sending import has_headers, make_sender
from serve.evidence.spans import make_provider
from serve.evidence.spool import Spool
from serve.gateway.access import Access
from serve.gateway.endpoint import Gateway
from serve.sampling import sampling_defaults
from serve.schema import Registry, ServerInfo, encode_file, lock_path, read_registry, server_path
from serve.settings import ServeConfig
from train.schema import model_version

log = get_logger("serve")

UPSTREAM = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
CONVENTIONAL_HOLDERS = {8000: "vLLM's and many other model servers' own port", 4000: "LiteLLM's port"}
STOP_GRACE_S = 10.0
"""How long answers in flight may go on after SIGTERM."""

FLUSH_TIMEOUT_S = 5.0
"""How long the last spans may take to leave."""

FEW_FILES = 4096

MIN_FREE_BYTES = 256 << 20
"""What the spool leaves free on its disk: the receiver's own reserve is on it too."""

SWITCH_INTERVAL_S = 0.0002
"""How long the thread that encodes spans may keep Python to itself while an answer waits to be passed on. Encoding a
batch takes tens of milliseconds; at Python's own 5 ms every token that comes meanwhile would wait that long."""

MAX_RESTARTS = 5
"""Starts in a row that may fail before the process gives up and leaves it to its own supervisor."""


def parse_address(listen: str, *, has_keys: bool = False) -> tuple[str, int]:
    """Split host:port; refuse whatever is not loopback while there are no keys to tell callers by.

    >>> parse_address("127.0.0.1:8000")
    ('127.0.0.1', 8000)
    """
    host, separator, port = listen.rpartition(":")
    host = host.strip("[]")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"--listen {listen} is not HOST:PORT", hint="For example --listen 127.0.0.1:8000")
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback and not has_keys:
        raise SettingsError(
            f"--listen {listen} would let others in, and there is no key to tell callers by",
            hint="Make one: spanloop receiver keys create --data DIR --name agents --scope serve",
        )
    return host, int(port)


def bind(listen: str, *, has_keys: bool = False) -> socket.socket:
    """Take the gateway's port, or say who usually has it."""
    host, port = parse_address(listen, has_keys=has_keys)
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
        )
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise SettingsError(f"cannot listen on {listen}: {error.strerror}") from error
        usual = CONVENTIONAL_HOLDERS.get(port)
        raise Busy(
            f"port {port} is in use" + (f" ({usual})" if usual else ""),
            hint=f"Stop its holder (`ss -ltnp 'sport = :{port}'` names it), or choose another port with --listen.",
        ) from error


def prepare_registry(config: ServeConfig) -> Registry:
    """Return the registry, made from --model where there is none; say so when --model is not what will be served."""
    present = read_registry(config.data)
    if present is not None:
        if config.name is not None and config.name != present.base:
            raise SettingsError(
                f"agents of {config.data} know the model as {present.base}, not as {config.name}",
                hint="Leave --name out, or use another --data.",
            )
        if config.model is not None and config.model.resolve() != Path(present.live):
            log.info("serving what the registry says is live, not --model", live=present.live_version)
        registry.live_directory(present)
        return present
    if config.model is None:
        return registry.require(config.data)
    model = find_model(config.model)
    name = config.name or re.sub(r"[^A-Za-z0-9._-]", "-", model_name(model))
    if not NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} cannot be the name of a model",
            hint="Name it with --name: letters, digits, . _ - and /, beginning with a letter or digit.",
        )
    check_integrity(model, require_manifest=False)
    return registry.initialise(config.data, model, name)


def make_delivery(config: ServeConfig) -> Delivery:
    """Return the way of the gateway's spans to the receiver, with what a gateway before left to be sent."""
    sender = make_sender(config.otlp_endpoint)
    # Keys can be made for a receiver that reads the same DATA only, and are where nobody chose one.
    own_keys = OwnKeys(config.data) if sender.is_local and not has_headers() else None
    spool = None
    if config.spool_mb:
        spool_path = config.data / "serve" / "spool"
        spool = Spool(spool_path, max_bytes=config.spool_mb << 20, min_free_bytes=MIN_FREE_BYTES)
    return Delivery(sender, spool, own_keys)


def choose_engine(config: ServeConfig) -> type[Engine]:
    """Return the kind of engine the settings ask for."""
    if config.upstream:
        if config.engine == "embedded":
            raise SettingsError("--upstream and --engine embedded exclude each other")
        for url in config.upstream:
            if not UPSTREAM.fullmatch(url):
                raise SettingsError(f"--upstream {url} is not http(s)://HOST[:PORT]")
        return UpstreamEngine
    choice = config.engine
    if choice == "auto":
        choice = "vllm" if vllm.is_installed() else "embedded"
    if choice == "vllm" and not vllm.is_installed():
        raise SettingsError("vLLM is not installed", hint="make setup-vllm, or --engine embedded")
    if choice == "embedded" and config.strict_tools:
        raise SettingsError("the embedded engine cannot hold answers to a schema", hint="Leave --strict-tools out.")
    return vllm.VllmEngine if choice == "vllm" else EmbeddedEngine


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
        self.engine_kind = choose_engine(config)
        self.engine_arguments = engine_arguments
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
        )
        self.changes = Changes(config, self.gateway, self._open_engine)

    @property
    def data(self) -> Path:
        """Directory that holds the registry."""
        return self.config.data

    async def start_engine(self) -> Engine:
        """Start an engine on the live checkpoint, prove that it answers as it should, and let calls in."""
        live = registry.require(self.data)
        began = time.monotonic()
        directory = registry.live_directory(live)
        serving = await self._open_engine(directory, "engine.log")
        engine = serving.engine
        try:
            await self._prove(serving, directory)
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

    async def _open_engine(self, checkpoint: Path, log_name: str) -> Serving:
        """Start an engine on a checkpoint; on an adapter's base, with the adapter added."""
        model = whole_model(checkpoint)
        engine = self._make_engine(model, self.data / "serve" / log_name, adapter_rank(checkpoint))
        try:
            await engine.start(self.config.start_timeout_s)
            name = engine.name
            if is_adapter(checkpoint):
                name = f"{engine.name}+{model_version(checkpoint)}"
                await engine.add(checkpoint, name)
        except BaseException:
            await engine.stop()
            raise
        return Serving(engine, name, describe_policy(checkpoint))

    def _make_engine(self, model: Path, log_path: Path, rank: int) -> Engine:
        if self.engine_kind is UpstreamEngine:
            key = self.config.upstream_api_key
            api_key = None if key is None else key.get_secret_value()
            return UpstreamEngine(self.config.upstream, model, log_path, self._is_proved, api_key=api_key)
        arguments = self.engine_arguments
        if self.config.allowed_media_domains and self.engine_kind is vllm.VllmEngine:
            arguments = ("--allowed-media-domains", *self.config.allowed_media_domains, *arguments)
        engine = self.engine_kind(model, self.gateway.base, log_path, arguments)
        engine.max_adapter_rank = max(rank, self.config.max_adapter_rank)
        return engine

    async def _is_proved(self, engine: Engine, model: Path) -> bool:
        probes = await asyncio.to_thread(find_probes, self.data, model)
        await check_processed(engine, probes)
        return is_within(await compare(engine, probes), dtype="unknown")

    async def _prove(self, serving: Serving, model: Path) -> None:
        """Check a fresh engine against what the trainer measured, or record what it says for want of that."""
        probes = find_probes(self.data, model)
        if not probes:
            await record_probes(self.data, model, serving.engine.parts[0])
            probes = find_probes(self.data, model)
        check_difference(await compare(serving.engine, probes, serving.model), "unknown", model)
        await check_parity(serving.engine, probes, "unknown", serving.model)
        await check_processed(serving.engine, probes, serving.model)

    async def keep_engine(self) -> None:
        """Keep an engine running; return only by an exception, when it can no longer be started."""
        engine = await self.start_engine()
        failures = 0
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
                self.gateway.admission.suspend()
                await self.changes.trial.set_aside()
                ended = "hung" if engine.is_hung else "ended"
                log.warning(f"the engine {ended}; starting it again", status=engine.exit_status(), log=str(engine.log))
                await engine.stop()
                await asyncio.sleep(min(30.0, 2.0**failures - 1))
                try:
                    engine = await self.start_engine()
                    failures = 0
                except EngineFailed:
                    failures += 1
                    if failures == MAX_RESTARTS:
                        raise
        finally:
            if (serving := self.gateway.admission.serving) is not None:
                engine = serving.engine
            self.gateway.admission.suspend()
            await self.changes.trial.set_aside()
            await engine.stop()

    async def status(self, _: dict[str, Any]) -> dict[str, Any]:
        """Say what is being served."""
        policy = self.gateway.admission.policy
        return {
            "is_ready": policy is not None,
            "serving_version": None if policy is None else policy.version,
            "num_in_flight": self.gateway.admission.num_in_flight,
            "num_answered": self.gateway.num_answered,
            "num_failed": self.gateway.num_failed,
            "canary": self.changes.trial.status(),
            **self.evidence.counts(),
            "evidence_trouble": self.evidence.trouble,
        }


# --- the process


def run(config: ServeConfig, engine_arguments: tuple[str, ...] = ()) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    if (limit := allow_many_files()) < FEW_FILES:
        log.warning("few calls can be answered at once: each holds two files", limit=limit, setting="LimitNOFILE")
    has_keys = Access(config.data).has_keys
    with (
        exclusive(lock_path(config.data), purpose="spanloop serve run"),
        bind(config.listen, has_keys=has_keys) as listener,
    ):
        live = prepare_registry(config)
        with asyncio.Runner(loop_factory=_event_loop()) as runner:
            runner.run(_run(config, live, listener, engine_arguments))


def _event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop, which spends less on a call; null, for Python's own, where it is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(config: ServeConfig, live: Registry, listener: socket.socket, engine_arguments: tuple[str, ...]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    evidence = make_delivery(config)
    host, port = listener.getsockname()[:2]  # the port may have been ours to choose
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    server = Server(config, live, url, evidence, engine_arguments)
    token = secrets.token_urlsafe(32)
    actions: dict[str, control.Action] = {
        "promote": server.changes.promote,
        "rollback": server.changes.rollback,
        "canary": server.changes.canary,
        "status": server.status,
    }
    front = web.AppRunner(
        server.gateway.make_app(), handler_cancellation=True, access_log=None, shutdown_timeout=STOP_GRACE_S
    )
    back = web.AppRunner(control.make_app(token, actions), access_log=None)
    keeping = asyncio.create_task(server.keep_engine())
    watching = asyncio.create_task(server.changes.trial.watch())
    try:
        await front.setup()
        await back.setup()
        await web.SockSite(front, listener).start()
        control_site = web.TCPSite(back, "127.0.0.1", 0)
        await control_site.start()
        info = ServerInfo(
            pid=getpid(),
            url=url,
            control_url=f"http://127.0.0.1:{back.addresses[0][1]}",
            control_token=token,
            engine=server.engine_kind.kind,
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
        server_path(config.data).unlink(missing_ok=True)
        await front.cleanup()
        await back.cleanup()
        for task in (watching, keeping):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await asyncio.to_thread(evidence.close, FLUSH_TIMEOUT_S)
