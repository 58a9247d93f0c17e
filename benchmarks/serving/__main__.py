"""Generated tokens a second through the gateway, with evidence on, and of the same vLLM asked directly, in one run.

    python -m benchmarks.serving examples/calculator/policy

One vLLM (make setup-vllm), a gateway in front of it, a client. Rounds alternate, there and back, and a ratio is that of
a pair in the same round: what else the machine does at that time cancels out. The second direct column asks for what
the gateway asks for, log-probabilities and token ids: the difference between the two is what the evidence costs inside
vLLM. The CPU columns are the processor time an answer takes in vLLM and in the gateway; vLLM's contains its waiting,
which spins.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from transformers.utils.logging import disable_progress_bar

from benchmarks.serving.overhead import process, processor_s, sink
from serve.engines.vllm import VllmEngine
from spanloop.processes import free_port
from tests.served import serving

TOKENS = 48
"""Forced length of every answer."""

EVIDENCE = {"logprobs": True, "return_token_ids": True}


@dataclass(frozen=True)
class Target:
    """Somewhere to ask, and how."""

    url: str
    model: str
    extra: dict[str, Any]


@dataclass(frozen=True)
class Round:
    """What some seconds of asking gave."""

    tokens_s: float
    vllm_ms: float
    """Processor time of vLLM an answer."""

    gateway_ms: float


async def ask(target: Target, concurrency: int, seconds: float) -> tuple[float, int]:
    """Ask for some seconds; return generated tokens a second, and answers."""
    num_tokens = num_answers = 0
    deadline = time.perf_counter() + seconds

    async def client(session: aiohttp.ClientSession, place: int) -> None:
        nonlocal num_tokens, num_answers
        number = 0
        while time.perf_counter() < deadline:
            number += 1
            body = {
                "model": target.model,
                "messages": [{"role": "user", "content": f"What is {number} times {place}?"}],
                "max_tokens": TOKENS,
                "ignore_eos": True,
                **target.extra,
            }
            async with session.post(f"{target.url}/v1/chat/completions", json=body) as response:
                response.raise_for_status()
                num_tokens += (await response.json())["usage"]["completion_tokens"]
                num_answers += 1

    began = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session, place) for place in range(concurrency)))
    return num_tokens / (time.perf_counter() - began), num_answers


def measure(target: Target, concurrency: int, seconds: float, *, vllm: int, gateway: int) -> Round:
    """Ask for some seconds, with the processor time of both processes and all they started."""
    before = processor_s(vllm), processor_s(gateway)
    tokens_s, num_answers = asyncio.run(ask(target, concurrency, seconds))
    after = processor_s(vllm), processor_s(gateway)
    vllm_ms, gateway_ms = (1000 * (then - now) / num_answers for now, then in zip(before, after, strict=True))
    return Round(tokens_s, vllm_ms, gateway_ms)


def ratios(ours: list[Round], theirs: list[Round]) -> str:
    """Return the median ratio of pairs, and the quartiles."""
    found = [our.tokens_s / their.tokens_s for our, their in zip(ours, theirs, strict=True)]
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return f"{middle:.3f} ({low:.2f}-{high:.2f})"


def main() -> None:
    """Print one line a level of concurrency."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
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
            process(command, f"{engine}/health", vllm.environment()) as pid,
            sink() as received,
            serving(Path(name) / "data", "--model", str(arguments.model), *own, collector=received) as served,
        ):
            targets = {
                "direct": Target(engine, "base", {}),
                "evidence": Target(engine, "base", EVIDENCE),
                "gateway": Target(served.url, "base:live", {}),
            }
            print(f"{'at once':>7} {'direct':>8} {'evidence':>8} {'gateway':>8}  tokens/s", end="")
            print(
                f"  {'gateway:direct':>19}  {'gateway:evidence':>19}  {'evidence:direct':>19}"
                "  CPU ms/answer: vLLM + gateway"
            )
            for concurrency in (1, 8, 32):
                rounds: dict[str, list[Round]] = {each: [] for each in targets}
                for number in range(arguments.rounds + 1):
                    for each in list(targets) if number % 2 else reversed(targets):
                        one = measure(
                            targets[each], concurrency, arguments.seconds, vllm=pid, gateway=served.process.pid
                        )
                        if number:  # the first round warms up
                            rounds[each].append(one)
                direct, evidence, through = rounds.values()
                rates = [f"{statistics.median(one.tokens_s for one in each):8.0f}" for each in rounds.values()]
                pairs = [ratios(through, direct), ratios(through, evidence), ratios(evidence, direct)]
                used = [statistics.median(one.vllm_ms for one in each) for each in rounds.values()]
                own_ms = statistics.median(one.gateway_ms for one in through)
                print(
                    f"{concurrency:7} {' '.join(rates)}            {'  '.join(f'{pair:>19}' for pair in pairs)}", end=""
                )
                print(f"  {used[0]:.1f}, {used[1]:.1f}, {used[2]:.1f} + {own_ms:.2f}")
                sys.stdout.flush()
        vllm.release()


if __name__ == "__main__":
    main()
