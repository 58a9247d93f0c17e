r"""Lets the agent attempt word problems and says in its traces how each attempt went.

What any team has around its agent: OpenTelemetry's SDK with the stock OTLP exporter, OpenInference's instrumentation of
the Agents SDK, OpenTelemetry's own of the HTTP client (it carries the trace to the model's endpoint), and a grader. The
one line that is Spanloop's is the reward.

    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 \
        python examples/calculator/collect.py --episodes 32 --attempts 8

Prints a summary as JSON. Ends with 1 when spans were dropped or attempts failed for a reason that is not the agent's.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent import MAX_TURNS, build_agent
from agents import Agent, Runner
from agents.exceptions import AgentsException
from openai import AsyncOpenAI, OpenAIError
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer
from problems import Problem, generate, grade

from otel_exporter import reward
from otel_exporter.schema import SPLIT, TASK_ID


@dataclass(frozen=True)
class Attempt:
    """How one attempt at one problem went."""

    task_id: str
    attempt: int
    trace_id: str
    reward: float | None
    """1.0 for the exact answer, else 0.0; None when the endpoint failed, which is nobody's merit or fault."""

    error: str | None
    """Name of the exception that ended it, if one did."""


class CountEnded(SpanProcessor):
    """Counts the sampled spans that ended."""

    def __init__(self) -> None:
        self.spans = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Count one."""
        self.spans += span.context.trace_flags.sampled


class CountExported(SpanExporter):
    """Passes spans on to an exporter and counts those it delivered."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export a batch."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.spans += len(spans)
        return result

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()


@dataclass(frozen=True)
class Telemetry:
    """The tracer provider of this process, and what went through it."""

    provider: TracerProvider
    ended: CountEnded
    exported: CountExported

    @property
    def tracer(self) -> Tracer:
        """The tracer of this program's own spans."""
        return self.provider.get_tracer("calculator")

    def close(self) -> None:
        """Send what is left and undo the instrumentation."""
        OpenAIAgentsInstrumentor().uninstrument()
        HTTPX2ClientInstrumentor().uninstrument()
        self.provider.shutdown()


def instrument(exporter: SpanExporter) -> Telemetry:
    """Set up tracing. OpenInference's processor takes the place of the Agents SDK's own upload of traces."""
    ended, exported = CountEnded(), CountExported(exporter)
    provider = TracerProvider(resource=Resource.create({"service.name": "calculator-agent"}))
    provider.add_span_processor(ended)
    provider.add_span_processor(BatchSpanProcessor(exported, max_queue_size=65_536, schedule_delay_millis=500))
    OpenAIAgentsInstrumentor().instrument(tracer_provider=provider, exclusive_processor=True)
    HTTPX2ClientInstrumentor().instrument(tracer_provider=provider)
    return Telemetry(provider, ended, exported)


async def attempt(agent: Agent, problem: Problem, number: int, tracer: Tracer) -> Attempt:
    """Let the agent try one problem, under a root span of its own that carries the reward."""
    attributes = {TASK_ID: problem.task_id, SPLIT: problem.split}
    with tracer.start_as_current_span("attempt", attributes=attributes) as span:
        outcome: float | None = 0.0
        error: str | None = None
        try:
            result = await Runner.run(agent, problem.text, max_turns=MAX_TURNS)
            outcome = grade(str(result.final_output), problem)
        except AgentsException as failure:
            error = type(failure).__name__
        except OpenAIError as failure:
            error, outcome = type(failure).__name__, None
        if outcome is not None:
            reward(outcome)
        return Attempt(problem.task_id, number, f"{span.get_span_context().trace_id:032x}", outcome, error)


async def attempt_all(
    agent: Agent, problems: Sequence[Problem], *, attempts: int, concurrency: int, tracer: Tracer
) -> list[Attempt]:
    """Let the agent try each problem so many times; results come in the order of the problems."""
    results: list[list[Attempt | None]] = [[None] * attempts for _ in problems]
    todo = ((row, column) for row in range(len(problems)) for column in range(attempts))

    async def work(places: Iterator[tuple[int, int]]) -> None:
        for row, column in places:
            results[row][column] = await attempt(agent, problems[row], column, tracer)

    await asyncio.gather(*(work(todo) for _ in range(concurrency)))
    return [result for row in results for result in row if result is not None]


def summarize(results: Sequence[Attempt], telemetry: Telemetry, *, duration_s: float) -> dict[str, Any]:
    """Return what the run amounts to."""
    graded = [result.reward for result in results if result.reward is not None]
    return {
        "episodes": len(results),
        "success": sum(graded) / len(graded) if graded else None,
        "ungraded": len(results) - len(graded),
        "errors": dict(Counter(result.error for result in results if result.error)),
        "spans": telemetry.ended.spans,
        "spans_exported": telemetry.exported.spans,
        "duration_s": round(duration_s, 2),
    }


def find_faults(summary: Mapping[str, Any]) -> list[str]:
    """Return what makes the run unfit to learn from, in sentences; nothing when it is sound."""
    faults = []
    if summary["spans"] != summary["spans_exported"]:
        faults.append(f"{summary['spans_exported']} of {summary['spans']} spans were delivered")
    if summary["ungraded"]:
        faults.append(f"{summary['ungraded']} attempts failed at the endpoint: {summary['errors']}")
    return faults


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=32, help="number of problems")
    parser.add_argument("--attempts", type=int, default=1, help="attempts at each")
    parser.add_argument("--concurrency", type=int, default=16, help="attempts under way at once")
    parser.add_argument("--heldout", action="store_true", help="problems kept out of training")
    parser.add_argument("--seed", type=int, default=0, help="chooses the problems")
    parser.add_argument("--model", default="calculator:live", help="name the endpoint knows the model by")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--output", type=Path, help="file for one JSON line an attempt")
    return parser.parse_args(arguments)


async def collect(options: argparse.Namespace, exporter: SpanExporter) -> tuple[list[Attempt], dict[str, Any]]:
    """Attempt the problems; return the attempts and the summary, after the last span was sent."""
    problems = generate(options.episodes, split="heldout" if options.heldout else "train", seed=options.seed)
    telemetry = instrument(exporter)
    began = time.monotonic()
    try:
        async with AsyncOpenAI() as client:
            results = await attempt_all(
                build_agent(client, model=options.model, temperature=options.temperature),
                problems,
                attempts=options.attempts,
                concurrency=options.concurrency,
                tracer=telemetry.tracer,
            )
        duration_s = time.monotonic() - began
    finally:
        telemetry.close()
    return results, summarize(results, telemetry, duration_s=duration_s)


def main() -> int:
    """Collect, print the summary and return the exit status."""
    options = parse()
    results, summary = asyncio.run(collect(options, OTLPSpanExporter()))
    if options.output:
        options.output.write_text("".join(json.dumps(asdict(result)) + "\n" for result in results))
    print(json.dumps(summary))
    faults = find_faults(summary)
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
