"""Traces of odd shapes: how CPU time grows with depth, width and length, and that nothing recurses.

python -m benchmarks.etl.shapes
"""

import gc
import sys
import time
from collections.abc import Callable

import polars as pl

from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import Span, agent, llm, logs_frame, span, spans_frame, tool

DEPTHS = (1_200, 12_000)
WIDTHS = (10_000, 100_000)
LENGTHS = (100, 400)
REPEATS = 2


def deep(size: int) -> list[Span]:
    """Return a chain of agents, the last of which calls a model."""
    chain = [
        agent(f"d{n}", agent_name=f"a{n % 7}", parent=None if n == 0 else f"d{n - 1}", end=9) for n in range(size - 1)
    ]
    return [*chain, llm("bottom", parent=f"d{size - 2}", start=1)]


def wide(size: int) -> list[Span]:
    """Return one root over that many spans: of five, one model call, one tool call and three ordinary ones."""
    spans = [span("root", end=size)]
    for n in range(size - 1):
        common = {"parent": "root", "start": n, "end": n + 0.5}
        if n % 5 == 0:
            spans.append(llm(f"w{n}", calls=[(f"c{n}", "search", {"q": n})], **common))
        elif n % 5 == 1:
            spans.append(tool(f"w{n}", tool_name="search", call_id=f"c{n - 1}", **common))
        else:
            spans.append(span(f"w{n}", **common))
    return spans


def long(size: int) -> list[Span]:
    """Return one conversation of that many model calls, each of which is shown all that was said before."""
    said: list[tuple[str, str]] = []
    calls = []
    for n in range(size):
        said.append(("user", f"question {n}"))
        calls.append(llm(f"c{n}", asked=said, said=f"answer {n}", start=2 * n))
        said.append(("assistant", f"answer {n}"))
    return calls


def cpu_s(spans: pl.DataFrame) -> float:
    """Return the least CPU seconds of a few transformations."""
    times = []
    for _ in range(REPEATS):
        gc.collect()
        begun = time.process_time()
        dataset = transform(spans, logs_frame(), EtlConfig(complete_after=0))
        times.append(time.process_time() - begun)
        assert dataset.counts["spans"]["in"] == spans.height
    return min(times)


def main() -> None:
    """Print CPU seconds and microseconds a span, by shape and size."""
    makers: tuple[tuple[str, Callable[[int], list[Span]], tuple[int, ...]], ...] = (
        ("deep", deep, DEPTHS),
        ("wide", wide, WIDTHS),
        ("long", long, LENGTHS),
    )
    for name, make, sizes in makers:
        for size in sizes:
            seconds = cpu_s(spans_frame(make(size)))
            sys.stdout.write(f"{name:5} {size:>8,} spans {seconds:8.3f} CPU-s {seconds / size * 1e6:8.1f} us/span\n")


if __name__ == "__main__":
    main()
