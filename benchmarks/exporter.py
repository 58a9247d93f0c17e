"""CPU a span costs inside an agent: the stock exporter, ours as it comes, and ours with selection and redaction.

    python -m benchmarks.exporter [--spans 1500 --rounds 3 --turns 1]

Spans are of about 3 kB, as a chat call's, and no two say the same but for the turns of one chat; every exporter talks
to a receiver that answers at once, in another process.
CPU is of this process, paired: the variants take turns, and the median of the ratios is printed.
"""

import argparse
import json
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.queues import Queue
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from otel_exporter.exporter import SpanloopExporter

WORDS = "where is my parcel please it was sent from Basel on Monday and should be here by now thank you"
CHOICE = random.Random(0)


def said(role: str) -> dict[str, Any]:
    """Return a message nobody said before, of 1.1 kB."""
    return {"role": role, "parts": [{"type": "text", "content": " ".join(CHOICE.choices(WORDS.split(), k=220))}]}


def attributes(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a chat call's span says."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "qwen3-8b",
        "gen_ai.input.messages": json.dumps(history),
        "gen_ai.output.messages": json.dumps([said("assistant")]),
        "gen_ai.usage.input_tokens": 400,
        "gen_ai.usage.output_tokens": 90,
    }


def conversations(num_spans: int, turns: int) -> list[dict[str, Any]]:
    """Return the spans of chats of so many turns, each of which holds the turns before."""
    spans: list[dict[str, Any]] = []
    history: list[dict[str, Any]] = []
    for number in range(num_spans):
        if number % turns == 0:
            history = []
        history.append(said("user"))
        spans.append(attributes(history))
    return spans


def serve(ready: "Queue[int]") -> None:
    """Answer every export at once."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    ready.put(server.server_port)
    server.serve_forever()


def cpu_us(build: Callable[[], SpanExporter], spans: list[dict[str, Any]]) -> float:
    """Return the CPU time of one span, from its start to its leaving, microseconds."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(build(), max_queue_size=len(spans) + 1))
    tracer = provider.get_tracer("benchmark")
    began = time.process_time()
    for each in spans:
        with tracer.start_as_current_span("chat", attributes=each):
            pass
    provider.shutdown()
    return (time.process_time() - began) / len(spans) * 1e6


def main() -> None:
    """Print the CPU of each variant and its ratio to the stock exporter."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spans", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=1, help="turns of a chat; each span holds those before it")
    arguments = parser.parse_args()
    ready: Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(ready,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ready.get()}"
    os.environ |= {"SPANLOOP_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "SPANLOOP_EXPORTER_OTLP_ENDPOINT": url}

    def ours(**settings: str) -> Callable[[], SpanExporter]:
        def build() -> SpanExporter:
            for name in ("SELECT", "REDACT"):
                os.environ[f"SPANLOOP_EXPORTER_{name}"] = settings.get(name, "")
            return SpanloopExporter()

        return build

    variants = {
        "stock": lambda: OTLPSpanExporter(endpoint=f"{url}/v1/traces"),
        "ours": ours(),
        "selected, redacted": ours(SELECT="agents", REDACT="all"),
    }
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(arguments.rounds):
        spans = conversations(arguments.spans, arguments.turns)
        for name, build in variants.items():
            taken[name].append(cpu_us(build, spans))
    for name, times in taken.items():
        ratio = statistics.median(one / stock for one, stock in zip(times, taken["stock"], strict=True))
        sys.stdout.write(f"{name:20} {statistics.median(times):7.1f} us a span, {ratio:.2f} of the stock exporter\n")
    server.kill()


if __name__ == "__main__":
    main()
