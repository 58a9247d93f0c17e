"""Lets an agent attempt tasks, many at a time, and says in its traces how each attempt went.

What any team has around its agent: OpenTelemetry's SDK with the stock OTLP exporter, an instrumentation of the
framework, and a grader. A score is an event of the GenAI conventions, `gen_ai.evaluation.result`; the names of task
and split are two attributes of the attempt's span. Nothing of Spanloop is imported.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import openai
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span


class Task(Protocol):
    """Something to attempt."""

    @property
    def id(self) -> str:
        """Name of the task, the same in every run."""

    @property
    def split(self) -> str:
        """`train`, or a split that is kept out of training."""

    @property
    def cluster(self) -> str:
        """What tasks share whose outcomes are no separate observations, such as two wordings of one question."""


@dataclass(frozen=True)
class Grade:
    """How an attempt went."""

    reward: float
    measures: Mapping[str, float] = field(default_factory=dict)
    """What else is worth reporting, by name; nothing is learned from it."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at one task."""

    task_id: str
    attempt: int
    trace_id: str
    reward: float | None
    """0.0 where the agent failed; None when the endpoint did, which is nobody's merit or fault."""

    error: str | None
    measures: Mapping[str, float]
    cluster: str = ""


Play = Callable[[Any], Awaitable[Grade]]
"""Lets the agent attempt a task, and grades it."""


class _CountEnded(SpanProcessor):
    def __init__(self) -> None:
        self.spans = 0

    def on_end(self, span: ReadableSpan) -> None:
        self.spans += bool(span.context and span.context.trace_flags.sampled)


class _CountExported(SpanExporter):
    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.spans += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


@dataclass(frozen=True)
class Telemetry:
    """The tracer provider of this process, and what went through it."""

    provider: TracerProvider
    ended: _CountEnded
    exported: _CountExported

    def flush(self) -> None:
        """Send what has ended."""
        self.provider.force_flush()


def open_telemetry(service: str, exporter: SpanExporter | None = None) -> Telemetry:
    """Set up tracing; where to is what the variables of OpenTelemetry say."""
    ended, exported = _CountEnded(), _CountExported(exporter or OTLPSpanExporter())
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(ended)
    provider.add_span_processor(BatchSpanProcessor(exported, max_queue_size=65_536, schedule_delay_millis=500))
    return Telemetry(provider, ended, exported)


async def attempt(
    play: Play,
    task: Task,
    number: int,
    telemetry: Telemetry,
    *,
    timeout_s: float,
    coin: float | None = None,
    tell: bool = True,
) -> Attempt:
    """Let the agent attempt one task under a span of its own that carries the reward: its own, or that of a coin.

    An agent that raises, or takes longer than its time, has failed; an endpoint that cannot be reached or breaks down
    has told nothing of the agent.
    """
    attributes = {"spanloop.task.id": task.id, "spanloop.split": "train" if task.split == "train" else "heldout"}
    tracer = telemetry.provider.get_tracer("examples.attempts")
    with tracer.start_as_current_span("attempt", attributes=attributes) as span:
        grade: Grade | None = Grade(0.0)
        error: str | None = None
        try:
            grade = await asyncio.wait_for(play(task), timeout_s)
        except asyncio.CancelledError:
            if (task_here := asyncio.current_task()) is not None and task_here.cancelling():
                raise  # we are told to end; else it was a framework that cancelled its own work
            error = "CancelledError"
        except Exception as failure:  # noqa: BLE001 - whatever an agent raises is its failure, and ends no other attempt
            error = type(failure).__name__
            grade = None if is_endpoint_failure(failure) else grade
        if grade is not None and tell:
            give_reward(span, grade.reward if coin is None else float(random.random() < coin))
        trace_id = f"{span.get_span_context().trace_id:032x}"
        reward = None if grade is None else grade.reward
        return Attempt(task.id, number, trace_id, reward, error, grade.measures if grade else {}, task.cluster)


def is_endpoint_failure(failure: BaseException) -> bool:
    """Tell whether the model's endpoint failed, however frameworks have wrapped what it raised."""
    seen: set[int] = set()
    chain: list[BaseException | None] = [failure]
    while chain:
        one = chain.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, openai.APIConnectionError | openai.InternalServerError | openai.AuthenticationError):
            return True
        chain += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return False


def give_reward(span: Span, reward: float) -> None:
    """Say how it went, as the GenAI conventions of OpenTelemetry have it."""
    score = {"gen_ai.evaluation.name": "outcome", "gen_ai.evaluation.score.value": float(reward)}
    span.add_event("gen_ai.evaluation.result", score)


async def attempt_all(
    play: Play,
    tasks: Sequence[Task],
    telemetry: Telemetry,
    *,
    attempts: int,
    concurrency: int,
    timeout_s: float,
    coin: float | None = None,
    tell: bool = True,
) -> list[Attempt]:
    """Attempt each task so many times; results come in the order of the tasks."""
    results: dict[tuple[int, int], Attempt] = {}
    todo = ((row, column) for row in range(len(tasks)) for column in range(attempts))

    async def work(places: Iterator[tuple[int, int]]) -> None:
        for row, column in places:
            results[row, column] = await attempt(
                play, tasks[row], column, telemetry, timeout_s=timeout_s, coin=coin, tell=tell
            )

    await asyncio.gather(*(work(todo) for _ in range(concurrency)))
    return [results[place] for place in sorted(results)]


def summarize(results: Sequence[Attempt], telemetry: Telemetry, *, duration_s: float) -> dict[str, Any]:
    """Return what a run amounts to."""
    graded = [result for result in results if result.reward is not None]
    names = sorted({name for result in graded for name in result.measures})
    return {
        "episodes": len(results),
        "reward": _mean([result.reward or 0.0 for result in graded]),
        **{name: _mean([result.measures.get(name, 0.0) for result in graded]) for name in names},
        "ungraded": len(results) - len(graded),
        "errors": dict(Counter(result.error for result in results if result.error)),
        "spans": telemetry.ended.spans,
        "spans_exported": telemetry.exported.spans,
        "duration_s": round(duration_s, 2),
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
