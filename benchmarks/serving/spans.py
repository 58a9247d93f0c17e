"""What one span costs the gateway: to make it, and to encode it, with the stock encoder and with ours.

    python -m benchmarks.serving.spans

Processor time of one process, so that other work on the machine matters little; medians of rounds taken in turns. The
call: 90 prompt tokens, 48 response tokens with log-probabilities, two messages.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serve.api.answers import Choice, Recording
from serve.evidence.delivery import BATCH
from serve.evidence.otlp import encode
from serve.evidence.spans import Call, Policy, end_span, make_provider, start_span
from serve.sampling import NEUTRAL

REQUEST = {
    "model": "base:live",
    "messages": [{"role": "system", "content": "Be brief. " * 8}, {"role": "user", "content": "How many? " * 4}],
    **NEUTRAL,
}


def example(number: int) -> Call:
    """Return a call as it ends."""
    ids = [(number + place) * 7919 % 50_000 for place in range(138)]
    choice = Choice(
        text="ab" * 48, finish_reason="stop", token_ids=ids[90:], logprobs=[-place / 7 for place in range(48)]
    )
    recording = Recording(id=f"chatcmpl-{number}", model="base", prompt_token_ids=ids[:90], choices={0: choice})
    return Call(True, REQUEST, Policy("checkpoint", "0" * 16, "1" * 16), "vllm", recording)


def processor_us(work: Callable[[], object]) -> float:
    """Return the processor time of a batch of spans, a span."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e6 / BATCH


def main() -> None:
    """Print three lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    memory = InMemorySpanExporter()
    provider = make_provider(memory)
    tracer = provider.get_tracer("spanloop.gateway")

    def make() -> None:
        for number in range(BATCH):
            end_span(tracer, start_span(tracer, {}, is_chat=True, model="base:live"), example(number), time.time_ns())

    make()
    provider.force_flush()
    spans = memory.get_finished_spans()
    works: dict[str, Callable[[], object]] = {
        "make": make,
        "encode, stock": lambda: encode_spans(spans).SerializeToString(),
        "encode": lambda: encode(spans).SerializeToString(),
    }
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(arguments.rounds + 1):
        for name, work in works.items():
            spent = processor_us(work)
            if number:  # the first round warms up
                taken[name].append(spent)
    provider.shutdown()
    for name, each in taken.items():
        print(f"{name:14} {statistics.median(each):7.1f} µs a span")


if __name__ == "__main__":
    main()
