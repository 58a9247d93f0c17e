"""Promotions and rollbacks under load: how many calls fail, and how many name a version that did not sample them.

    make soak-serve      or      python -m benchmarks.serving.promotions --requests 10000 --promotions 20 --rollbacks 5

A real gateway with the embedded engine and tiny models, an OTLP receiver that remembers. Every recorded answer is
scored again by Transformers under the weights its span names. Then the registry: a process that changes it without
pause is killed at random moments, and what it left is read. Ends with status 1 when any figure is not 0.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import torch
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from foundation.files import exclusive
from otel_exporter import schema as names
from serve.change import registry
from serve.change.control import ask
from serve.schema import lock_path, read_registry, read_server
from tests.fakes import tiny_model
from tests.served import Served, serving
from tests.serving import Collector, collector, tiny_checkpoint
from train.schema import model_version

TOLERANCE = 1e-3
"""Natural log: float32 against float32, batched otherwise. Another version's weights are off by about 1."""


async def load(served: Served, num_requests: int, clients: int, changes: list[Path | None]) -> dict[str, Any]:
    """Ask from many clients at once while the model changes, and return what came of it."""
    server = read_server(served.data)
    assert server is not None
    answers: list[tuple[str, str]] = []
    failures: Counter[str] = Counter()
    latencies: list[float] = []
    left = num_requests

    async def client(session: aiohttp.ClientSession, place: int) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            body = {
                "model": "base:live",
                "messages": [{"role": "user", "content": f"{place}: {left}"}],
                "max_tokens": 2 + left % 14,
                "stream": left % 3 == 0,
            }
            began = time.perf_counter()
            try:
                async with session.post(f"{served.url}/v1/chat/completions", json=body) as response:
                    content = (await response.read()).decode()
                    response.raise_for_status()
                    first = content.split("\n\n")[0].removeprefix("data: ") if body["stream"] else content
                    assert not body["stream"] or content.endswith("data: [DONE]\n\n")
                    answers.append((json.loads(first)["id"], response.headers["x-spanloop-policy-version"]))
            except (aiohttp.ClientError, AssertionError) as failure:
                failures[type(failure).__name__] += 1
            latencies.append(time.perf_counter() - began)

    paused: list[float] = []

    async def change() -> None:
        for number, target in enumerate(changes, start=1):
            while num_requests - left < number * num_requests // (len(changes) + 1):
                await asyncio.sleep(0.01)
            body = {} if target is None else {"checkpoint": str(target)}
            report = await ask(server, "rollback" if target is None else "promote", body)
            assert report is not None
            assert report["changed"], report
            paused.append(report["paused_s"])

    began = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(change(), *(client(session, place) for place in range(clients)))
    duration_s = time.perf_counter() - began
    status = await ask(server, "status", {})
    assert status is not None
    return {
        "answers": answers,
        "failures": failures,
        "duration_s": duration_s,
        "paused_ms": [round(1000 * value, 1) for value in (min(paused), sorted(paused)[len(paused) // 2], max(paused))],
        "latency_ms": [round(1000 * sorted(latencies)[int(q * (len(latencies) - 1))], 1) for q in (0.5, 0.99, 1)],
        "dropped": status["num_spans_dropped"] + status["num_spans_failed"],
    }


def wait_for_spans(received: Collector, count: int) -> dict[str, dict[str, Any]]:
    """Return the attributes of every answer's span by response id, once all are there."""
    deadline = time.monotonic() + 60
    while len(received.spans) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    return {span.attributes["gen_ai.response.id"]: span.attributes for span in received.spans}


@torch.inference_mode()
def worst_difference(model: Path, spans: list[dict[str, Any]]) -> list[float]:
    """Return for every span the largest distance of a recorded log-probability from this model's own."""
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    worst = []
    for start in range(0, len(spans), 64):
        group = spans[start : start + 64]
        rows = [(span[names.PROMPT_TOKEN_IDS], span[names.CHOICE_TOKEN_IDS.format(index=0)]) for span in group]
        length = max(len(prompt) + len(response) for prompt, response in rows)
        ids = torch.tensor(
            [[*prompt, *response] + [0] * (length - len(prompt) - len(response)) for prompt, response in rows]
        )
        logprobs = net(input_ids=ids).logits.log_softmax(-1)  # padding on the right: causal, so it changes nothing
        for row, ((prompt, response), span) in enumerate(zip(rows, group, strict=True)):
            places = torch.arange(len(prompt) - 1, len(prompt) + len(response) - 1)
            own = logprobs[row, places, torch.tensor(response)]
            recorded = torch.tensor(span[names.CHOICE_LOGPROBS.format(index=0)])
            worst.append((own - recorded).abs().max().item())
    return worst


def change_for_ever(data: Path, models: list[Path], seed: int) -> None:
    """Promote and roll back without pause, until killed."""
    choice = random.Random(seed)
    while True:
        with exclusive(lock_path(data), purpose="kill test"):
            current = registry.require(data)
            if current.previous and choice.random() < 0.4:
                registry.rollback(data)
            else:
                registry.promote(data, choice.choice(models))


def kill_registry(data: Path, models: list[Path], kills: int) -> int:
    """Kill a process that changes the registry, again and again; return how often what it left was not whole."""
    versions = {model_version(model): str(model.resolve()) for model in models}
    registry.initialise(data, models[0], "base")
    choice = random.Random(7)
    torn = 0
    for number in range(kills):
        child = os.fork()
        if child == 0:
            change_for_ever(data, models, number)
        time.sleep(choice.uniform(0.001, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        try:
            found = read_registry(data)
            assert found is not None
            assert versions[found.live_version] == found.live
            assert set(found.previous) <= set(versions.values())
            trail = registry.read_audit(data)
            # One change may lack its line, until the next change adds it.
            with exclusive(lock_path(data), purpose="kill test"):
                registry.promote(data, models[(number + 1) % len(models)])
                registry.promote(data, models[number % len(models)])
            repaired = registry.read_audit(data)
            assert repaired[: len(trail)] == trail
            assert all(after["from"] == before["to"] for before, after in itertools.pairwise(repaired))
        except (AssertionError, ValueError, KeyError) as error:
            torn += 1
            print(f"kill {number}: {type(error).__name__} {error}", file=sys.stderr)
    return torn


def main() -> None:
    """Run both and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--promotions", type=int, default=20)
    parser.add_argument("--rollbacks", type=int, default=5)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--kills", type=int, default=200)
    arguments = parser.parse_args()
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        base = tiny_model(root / "base", seed=0)
        nights = [tiny_checkpoint(root / f"night-{seed}", seed=seed) for seed in range(1, arguments.promotions + 1)]
        torn = kill_registry(root / "registry", [base, *nights[:3]], arguments.kills)
        changes: list[Path | None] = [*nights]
        every = max(1, len(changes) // max(1, arguments.rollbacks))
        for number in range(arguments.rollbacks):
            changes.insert((number + 1) * every + number, None)
        with (
            collector() as received,
            serving(root / "data", "--model", str(base), "--engine", "embedded", collector=received) as served,
        ):
            result = asyncio.run(load(served, arguments.requests, arguments.clients, changes))
            answers = result.pop("answers")
            spans = wait_for_spans(received, len(answers))
        models = {model_version(path): path for path in [base, *nights]}
        by_version: dict[str, list[dict[str, Any]]] = {}
        disagreeing = 0
        for response_id, version in answers:
            span = spans.get(response_id)
            disagreeing += span is None or span[names.POLICY_VERSION] != version
            if span is not None:
                by_version.setdefault(span[names.POLICY_VERSION], []).append(span)
        worst = [each for version, group in by_version.items() for each in worst_difference(models[version], group)]
        wrong = sum(not each < TOLERANCE for each in worst)
        report = {
            "requests": arguments.requests,
            "changes": len(changes),
            "failed": sum(result["failures"].values()),
            "answers_without_span_or_with_another_version": disagreeing,
            "answers_not_sampled_by_their_version": wrong,
            "versions_seen": len(by_version),
            "largest_logprob_difference": max(worst),
            "registry_kills": arguments.kills,
            "registry_torn": torn,
            **{name: result[name] for name in ("dropped", "duration_s", "paused_ms", "latency_ms")},
        }
        print(json.dumps(report, indent=2))
        bad = ("failed", "answers_without_span_or_with_another_version", "answers_not_sampled_by_their_version")
        sys.exit(any(report[name] for name in (*bad, "registry_torn", "dropped")))


if __name__ == "__main__":
    main()
