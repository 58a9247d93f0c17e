"""Starts an engine on a checkpoint, and proves that it answers as it should."""

import asyncio
from pathlib import Path

from serve.admission import Serving
from serve.change.parity import check_parity, check_processed
from serve.change.policy import describe_policy
from serve.change.probes import find_probes, record_probes
from serve.change.proof import check_difference, compare, is_within
from serve.engines import vllm
from serve.engines.adapters import adapter_rank, is_adapter, whole_model
from serve.engines.engine import Engine
from serve.engines.upstream import UpstreamEngine
from serve.preparation import choose_engine
from serve.settings import ServeConfig
from train.schema import model_version


class EngineStarter:
    """Starts engines of the kind the settings ask for."""

    def __init__(self, config: ServeConfig, base: str, arguments: tuple[str, ...]) -> None:
        self.kind = choose_engine(config)
        self._config = config
        self._base = base
        self._arguments = arguments

    async def open(self, checkpoint: Path, log_name: str) -> Serving:
        """Start an engine on a checkpoint; on an adapter's base, with the adapter added."""
        model = whole_model(checkpoint)
        engine = self._make_engine(model, self._config.data / "serve" / log_name, adapter_rank(checkpoint))
        try:
            await engine.start(self._config.start_timeout_s)
            name = engine.name
            if is_adapter(checkpoint):
                name = f"{engine.name}+{model_version(checkpoint)}"
                await engine.add(checkpoint, name)
        except BaseException:
            await engine.stop()
            raise
        return Serving(engine, name, describe_policy(checkpoint))

    def _make_engine(self, model: Path, log_path: Path, rank: int) -> Engine:
        if self.kind is UpstreamEngine:
            key = self._config.upstream_api_key
            api_key = None if key is None else key.get_secret_value()
            return UpstreamEngine(self._config.upstream, model, log_path, self._is_proved, api_key=api_key)
        arguments = self._arguments
        if self._config.allowed_media_domains and self.kind is vllm.VllmEngine:
            arguments = ("--allowed-media-domains", *self._config.allowed_media_domains, *arguments)
        engine = self.kind(model, self._base, log_path, arguments)
        engine.max_adapter_rank = max(rank, self._config.max_adapter_rank)
        return engine

    async def _is_proved(self, engine: Engine, model: Path) -> bool:
        probes = await asyncio.to_thread(find_probes, self._config.data, model)
        await check_processed(engine, probes)
        return is_within(await compare(engine, probes), dtype="unknown")

    async def prove(self, serving: Serving, model: Path) -> None:
        """Check a fresh engine against what the trainer measured, or record what it says for want of that."""
        probes = find_probes(self._config.data, model)
        if not probes:
            await record_probes(self._config.data, model, serving.engine.parts[0])
            probes = find_probes(self._config.data, model)
        check_difference(await compare(serving.engine, probes, serving.model), "unknown", model)
        await check_parity(serving.engine, probes, "unknown", serving.model)
        await check_processed(serving.engine, probes, serving.model)
