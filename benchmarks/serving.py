"""Generated tokens a second through the gateway, with evidence on, and of the same vLLM asked directly, in one run.

    python -m benchmarks.serving examples/calculator/policy

One vLLM (make setup-vllm), a gateway in front of it, a client: rounds alternate, the ratio is that of each pair. The
second direct column asks for what the gateway asks for, log-probabilities and token ids: the difference between the two
is what the evidence costs inside vLLM.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
from transformers.utils.logging import disable_progress_bar

from benchmarks.serving_overhead import process, sink
from serve.vllm import VllmEngine
from spanloop.processes import free_port
from tests.served import serving

TOKENS = 48
"""Forced length of every answer."""

EVIDENCE = {"logprobs": True, "return_token_ids": True}


async def measure(url: str, model: str, concurrency: int, seconds: float, extra: dict[str, Any]) -> float:
    """Return generated tokens a second over some seconds."""
    num_tokens = 0
    deadline = time.perf_counter() + seconds

    async def client(session: aiohttp.ClientSession, place: int) -> None:
        nonlocal num_tokens
        number = 0
        while time.perf_counter() < deadline:
            number += 1
            body = {
                "model": model,
                "messages": [{"role": "user", "content": f"What is {number} times {place}?"}],
                "max_tokens": TOKENS,
                "ignore_eos": True,
                **extra,
            }
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                response.raise_for_status()
                num_tokens += (await response.json())["usage"]["completion_tokens"]

    began = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session, place) for place in range(concurrency)))
    return num_tokens / (time.perf_counter() - began)


def main() -> None:
    """Print one line a level of concurrency."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    disable_progress_bar()
    port = free_port()
    engine = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as name:
        vllm = VllmEngine(arguments.model, "base", Path(name) / "engine.log")
        command = vllm.command()
        place = command.index("--uds")
        command[place : place + 2] = ["--host", "127.0.0.1", "--port", str(port)]
        own = ["--upstream", engine, "--name", "base"]
        with (
            process(command, f"{engine}/health", vllm.environment()),
            sink() as received,
            serving(Path(name) / "data", "--model", str(arguments.model), *own, collector=received) as served,
        ):
            targets: dict[str, tuple[str, str, dict[str, Any]]] = {
                "direct": (engine, "base", {}),
                "direct, evidence": (engine, "base", EVIDENCE),
                "gateway": (served.url, "base:live", {}),
            }
            print(
                f"{'at once':>8} {'direct':>10} {'with evidence':>14} {'gateway':>10} {'ratio':>7} {'to evidence':>12}"
            )
            for concurrency in (1, 8, 32):
                rates: dict[str, list[float]] = {name: [] for name in targets}
                for number in range(arguments.rounds + 1):
                    for name_, (url, model, extra) in targets.items():
                        rate = asyncio.run(measure(url, model, concurrency, arguments.seconds, extra))
                        if number:  # the first round warms up
                            rates[name_].append(rate)
                plain, asked, through = rates.values()
                ratio = statistics.median(ours / theirs for ours, theirs in zip(through, plain, strict=True))
                to_asked = statistics.median(ours / theirs for ours, theirs in zip(through, asked, strict=True))
                medians = [statistics.median(each) for each in rates.values()]
                print(
                    f"{concurrency:8} {medians[0]:10.0f} {medians[1]:14.0f} {medians[2]:10.0f} "
                    f"{ratio:7.3f} {to_asked:12.3f}"
                )
                sys.stdout.flush()
        vllm.release()


if __name__ == "__main__":
    main()
