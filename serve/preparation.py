"""What a start settles before it serves: what is live, how evidence leaves, which kind of engine answers."""

import re
from pathlib import Path

from foundation.errors import SettingsError
from foundation.models import find_model, model_name
from foundation.narration import get_logger
from otel_exporter.redaction import build
from serve.change import registry
from serve.change.integrity import check_integrity
from serve.engines import vllm
from serve.engines.engine import Engine
from serve.engines.transformers_engine import EmbeddedEngine
from serve.engines.upstream import UpstreamEngine
from serve.evidence.delivery import Delivery
from serve.evidence.own_keys import OwnKeys
from serve.evidence.privacy import Privacy, captures_content
from serve.evidence.sending import has_headers, make_sender
from serve.evidence.spool import Spool
from serve.fallback.checks import Checks
from serve.fallback.hosted import open_hosted, read_key
from serve.gateway.second import Second
from serve.schema import Registry, read_registry
from serve.settings import ServeConfig

log = get_logger("serve")

UPSTREAM = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")

MIN_FREE_BYTES = 256 << 20
"""What the spool leaves free on its disk: the receiver's own reserve is on it too."""


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
    privacy = Privacy(captures_content(config.capture_content), config.redactor(build))
    if not privacy.captures_content:
        log.warning("spans are without content: nothing can be learned from them", setting="capture_content")
    return Delivery(sender, spool, own_keys, privacy=privacy)


def make_second(config: ServeConfig) -> Second | None:
    """Return the hosted model behind the student, None where none is named. Called in a running event loop."""
    if config.fallback is None or config.fallback_model is None:
        return None
    key = read_key(config.fallback_key_env, config.fallback_key_file)
    return Second(
        open_hosted(config.fallback, config.fallback_model, key),
        Checks(config.fallback_checks, config.fallback_min_logprob),
        share=config.fallback_share,
        patience_s=config.fallback_after_s,
        holds_streams=config.fallback_hold_streams,
    )


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
    return vllm.VllmEngine if choice == "vllm" else EmbeddedEngine
