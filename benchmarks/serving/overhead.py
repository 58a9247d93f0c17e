"""What the gateway adds to a call, beside LiteLLM's proxy on the same engine of cardboard, in one run.

    python3.11 -m venv /tmp/peer && /tmp/peer/bin/pip install 'litellm[proxy]==1.106.2'
    python -m benchmarks.serving.overhead --litellm /tmp/peer/bin/litellm

Client, engine, gateway and proxy are processes of their own on one machine. The engine answers at once, 48 tokens,
whole or in 24 events; with token ids and log-probabilities where it is asked for them, as our gateway does. The gateway
runs as `spanloop serve run --upstream`, its spans go to an OTLP receiver. Rounds alternate; figures are medians.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import orjson
from aiohttp import web

from spanloop.processes import free_port
from tests.fakes import tiny_model
from tests.served import serving

TOKENS = 48
EVENTS = 24
KEY = "sk-bench"
ENTRY = {"token": "ab", "logprob": -0.5, "bytes": [97, 98], "top_logprobs": []}


# --- the engine of cardboard


def whole_answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return an answer of vLLM's shape, with the evidence when it is asked for."""
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": "ab" * TOKENS},
        "logprobs": {"content": [ENTRY] * TOKENS} if request.get("logprobs") else None,
        "finish_reason": "stop",
    }
    answer: dict[str, Any] = {
        "id": f"chatcmpl-{time.monotonic_ns()}",
        "object": "chat.completion",
        "created": 1,
        "model": request["model"],
        "choices": [choice],
        "usage": {"prompt_tokens": 90, "completion_tokens": TOKENS, "total_tokens": 90 + TOKENS},
    }
    if request.get("return_token_ids"):
        choice["token_ids"] = list(range(97, 97 + TOKENS))
        answer["prompt_token_ids"] = list(range(90))
    return answer


def events(request: dict[str, Any]) -> list[bytes]:
    """Return the same answer as events."""
    size = TOKENS // EVENTS
    head = {"id": f"chatcmpl-{time.monotonic_ns()}", "object": "chat.completion.chunk", "created": 1}
    found = []
    for number in range(EVENTS):
        choice: dict[str, Any] = {"index": 0, "delta": {"content": "ab" * size}, "finish_reason": None}
        choice["logprobs"] = {"content": [ENTRY] * size} if request.get("logprobs") else None
        chunk = {**head, "model": request["model"], "choices": [choice]}
        if number == EVENTS - 1:
            choice["finish_reason"] = "stop"
        if request.get("return_token_ids"):
            choice["token_ids"] = list(range(97 + number * size, 97 + (number + 1) * size))
            if number == 0:
                chunk["prompt_token_ids"] = list(range(90))
        found.append(b"data: " + orjson.dumps(chunk) + b"\n\n")
    return [*found, b"data: [DONE]\n\n"]


async def chat(http: web.Request) -> web.StreamResponse:
    """Answer a chat call at once."""
    request = orjson.loads(await http.read())
    if not request.get("stream"):
        return web.Response(body=orjson.dumps(whole_answer(request)), content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(http)
    for event in events(request):
        await response.write(event)
        await asyncio.sleep(0)
    await response.write_eof()
    return response


async def complete(http: web.Request) -> web.Response:
    """Answer the gateway's own questions: what it asks to recognise a model by."""
    request = orjson.loads(await http.read())
    ids = list(range(request["max_tokens"]))
    logprob = 0.0 if request.get("top_k") == 1 else -1.0  # what is certain has no other
    choice: dict[str, Any] = {"token_ids": ids, "logprobs": {"token_logprobs": [logprob] * len(ids)}}
    if request.get("prompt_logprobs") is not None:
        choice["prompt_logprobs"] = [{str(token): {"logprob": -1.0}} for token in request["prompt"]]
    return web.json_response({"choices": [choice]})


async def found(_: web.Request) -> web.Response:
    """Say which model is served."""
    return web.json_response({"object": "list", "data": [{"id": "base", "object": "model"}]})


def run_engine(port: int) -> None:
    """Serve until killed."""
    app = web.Application(client_max_size=1 << 26)
    app.add_routes([web.post("/v1/chat/completions", chat), web.post("/v1/completions", complete)])
    app.add_routes([web.get("/v1/models", found), web.get("/health", found)])
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


# --- the client


async def ask(session: aiohttp.ClientSession, url: str, model: str, *, stream: bool) -> tuple[float, float]:
    """Ask once; return the time to the first byte of the body and to the last, in seconds."""
    body = {
        "model": model,
        "messages": [{"role": "system", "content": "Be brief. " * 8}, {"role": "user", "content": "How many? " * 4}],
        "stream": stream,
    }
    began = time.perf_counter()
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        await response.content.readany()
        first = time.perf_counter() - began
        await response.read()
    return first, time.perf_counter() - began


async def drive(url: str, model: str, *, concurrency: int, stream: bool, seconds: float) -> list[tuple[float, float]]:
    """Ask from several clients for some seconds."""
    taken: list[tuple[float, float]] = []
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers={"Authorization": f"Bearer {KEY}"}
    ) as session:
        await ask(session, url, model, stream=stream)
        deadline = time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < deadline:
                taken.append(await ask(session, url, model, stream=stream))

        await asyncio.gather(*(client() for _ in range(concurrency)))
    return taken


def processor_s(pid: int) -> float:
    """Return the processor time of a process and everything it started, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    threads = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    return own + sum(processor_s(child) for child in children)


@contextlib.contextmanager
def process(command: list[str], url: str, environment: dict[str, str] | None = None) -> Iterator[int]:
    """Run a server until the block ends; yield its process id once it answers."""
    child = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        asyncio.run(wait_for(url))
        yield child.pid
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@dataclass
class Sink:
    """An OTLP receiver that counts requests and reads none of them, so that it costs the machine next to nothing."""

    endpoint: str
    num_bytes: int = 0


@contextlib.contextmanager
def sink() -> Iterator[Sink]:
    """Run a sink on a free port."""
    found = Sink("")

    def export(request: bytes, _: grpc.ServicerContext) -> bytes:
        found.num_bytes += len(request)
        return b""

    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    methods = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    found.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield found
    finally:
        server.stop(0).wait()


async def wait_for(url: str) -> None:
    """Wait until a URL answers 200."""
    async with aiohttp.ClientSession() as session:
        for _ in range(1200):
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)
    raise SystemExit(f"{url} never answered")


def litellm_config(directory: Path, engine: str) -> Path:
    """Write what LiteLLM needs to pass calls on, with nothing recorded."""
    path = directory / "litellm.yaml"
    path.write_text(
        json.dumps(
            {
                "model_list": [
                    {
                        "model_name": "base:live",
                        "litellm_params": {"model": "openai/base", "api_base": f"{engine}/v1", "api_key": "none"},
                    }
                ],
                "general_settings": {"master_key": KEY},
            }
        )
    )
    return path


def measure(targets: dict[str, tuple[str, str, int | None]], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every target at every setting, alternating, and return one row each."""
    rows = []
    for stream in (False, True):
        for concurrency in (1, 16):
            rounds: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in targets}
            for _ in range(arguments.rounds):
                for name, (url, model, pid) in targets.items():
                    used = 0.0 if pid is None else processor_s(pid)
                    began = time.perf_counter()
                    taken = asyncio.run(
                        drive(url, model, concurrency=concurrency, stream=stream, seconds=arguments.seconds)
                    )
                    duration = time.perf_counter() - began
                    used = 0.0 if pid is None else processor_s(pid) - used
                    first, last = (statistics.median(each) for each in zip(*taken, strict=True))
                    rounds[name].append((len(taken) / duration, first, last, used / len(taken)))
            rows += [
                {"stream": stream, "concurrency": concurrency, "target": name, **row(rounds[name])} for name in targets
            ]
    return rows


def row(rounds: list[tuple[float, float, float, float]]) -> dict[str, float]:
    """Return the medians of some rounds."""
    rate, first, last, used = (statistics.median(each) for each in zip(*rounds, strict=True))
    return {
        "requests_s": round(rate, 1),
        "first_byte_p50_ms": round(1000 * first, 3),
        "p50_ms": round(1000 * last, 3),
        "processor_ms": round(1000 * used, 3),
    }


def compare(rows: list[dict[str, Any]]) -> None:
    """Print the rows, and what each target adds to the direct call."""
    print(f"{'':18} {'':10} {'req/s':>8} {'p50 ms':>8} {'added':>8} {'first byte added':>17} {'CPU ms/req':>11}")
    for stream in (False, True):
        for concurrency in (1, 16):
            group = {row["target"]: row for row in rows if (row["stream"], row["concurrency"]) == (stream, concurrency)}
            direct = group["direct"]
            label = f"{'stream' if stream else 'whole'}, {concurrency} at once"
            for name, each in group.items():
                added = each["p50_ms"] - direct["p50_ms"]
                first = each["first_byte_p50_ms"] - direct["first_byte_p50_ms"]
                print(
                    f"{label:18} {name:10} {each['requests_s']:8.0f} {each['p50_ms']:8.2f} {added:8.2f} {first:17.2f} "
                    f"{each['processor_ms']:11.2f}"
                )
            if "litellm" in group:
                ours, theirs = group["spanloop"], group["litellm"]
                ratio = (ours["p50_ms"] - direct["p50_ms"]) / (theirs["p50_ms"] - direct["p50_ms"])
                work = theirs["processor_ms"] / ours["processor_ms"]
                print(f"{'':18} ours/theirs: added p50 x{ratio:.3f}, requests per CPU-second x{work:.1f}")


def main() -> None:
    """Run everything and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--litellm", type=Path, help="the `litellm` command of an environment of its own")
    parser.add_argument("--fallback", action="store_true", help="also with a hosted model behind it that nobody needs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--engine", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine is not None:
        run_engine(arguments.engine)
        return
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory, port, proxy = Path(name), free_port(), free_port()
        engine = f"http://127.0.0.1:{port}"
        own = [sys.executable, "-m", "benchmarks.serving.overhead", "--engine", str(port)]
        stack.enter_context(process(own, f"{engine}/health"))
        received = stack.enter_context(sink())
        model = tiny_model(directory / "base")
        served = stack.enter_context(
            serving(directory / "data", "--model", str(model), "--upstream", engine, collector=received)
        )
        targets: dict[str, tuple[str, str, int | None]] = {
            "direct": (engine, "base", None),
            "spanloop": (served.url, "base:live", served.process.pid),
        }
        if arguments.fallback:
            own = ["--upstream", engine, "--fallback", engine, "--fallback-model", "base"]
            second = serving(directory / "second", "--model", str(model), *own, collector=received)
            behind = stack.enter_context(second)
            targets["fallback"] = (behind.url, "base:live", behind.process.pid)
        if arguments.litellm is not None:
            config = litellm_config(directory, engine)
            command = [str(arguments.litellm), "--config", str(config), "--port", str(proxy), "--host", "127.0.0.1"]
            environment = {"LITELLM_TELEMETRY": "False", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
            url = f"http://127.0.0.1:{proxy}"
            pid = stack.enter_context(process(command, f"{url}/health/liveliness", environment))
            targets["litellm"] = (url, "base:live", pid)
        rows = measure(targets, arguments)
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        compare(rows)
        print(f"{received.num_bytes / 2**20:.1f} MiB of spans reached the receiver")


if __name__ == "__main__":
    main()
