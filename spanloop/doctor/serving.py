"""Looks at serving: engine, GPU, registry, gateway, and spans that wait for a receiver."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from serve.schema import read_registry, read_server
from spanloop.doctor.finding import Finding

GPU_DEVICES = (Path("/dev/nvidia0"), Path("/dev/kfd"))


def check_serving(data: Path) -> Iterator[Finding]:
    """Look at what answers the agents, and from which checkpoint."""
    yield (
        Finding("engine", "ok", "vLLM is installed")
        if find_spec("vllm")
        else Finding("engine", "warn", "vLLM is not installed; serving uses the embedded engine", "make setup-vllm")
    )
    has_gpu = any(device.exists() for device in GPU_DEVICES) or shutil.which("nvidia-smi") is not None
    yield (
        Finding("gpu", "ok", "there is a GPU")
        if has_gpu
        else Finding(
            "gpu",
            "warn",
            "there is no GPU here: training and serving run on the CPU, for small models only",
            "Train and serve on a machine that has one; spans and tables are read from here: docs/operations.md.",
        )
    )
    yield from _check_registry(data)
    yield from _check_gateway(data)


def _check_registry(data: Path) -> Iterator[Finding]:
    registry = read_registry(data)
    if registry is None:
        return
    named = [registry.live, *([registry.canary.checkpoint] if registry.canary else [])]
    missing = [path for path in named if not Path(path).is_dir()]
    if missing:
        yield Finding(
            "registry",
            "fail",
            f"the registry names checkpoints that are not there: {', '.join(missing)}",
            f"Restore them, or go back: spanloop serve rollback --data {data}",
        )
    else:
        yield Finding("registry", "ok", f"{registry.base}:live is {registry.live_version}")


def _check_gateway(data: Path) -> Iterator[Finding]:
    server = read_server(data)
    if server is not None:
        yield (
            Finding("gateway", "ok", f"the gateway at {server.url} answers, on {server.engine}")
            if server.is_alive(timeout_s=5)
            else Finding(
                "gateway",
                "warn",
                f"the gateway at {server.url} (pid {server.pid}) does not answer, or is gone",
                f"spanloop serve status --data {data}; start it again if it is gone: spanloop serve run",
            )
        )
    spool = data / "serve" / "spool"
    num_waiting = sum(1 for _ in spool.iterdir()) if spool.is_dir() else 0
    if num_waiting:
        yield Finding(
            "spool",
            "warn",
            f"{num_waiting} files of the gateway's spans wait in {spool} for a receiver",
            "Start the receiver they go to, or name it: --otlp-endpoint.",
        )
