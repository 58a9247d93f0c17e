"""The driver with everything stock around it, against a scripted model: every span arrives, the reward on the root."""

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from aiohttp import web
from collect import collect, find_faults, parse
from episode import assistant_message, call_text
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from problems import Problem, generate

pytestmark = pytest.mark.integration

Answer = Callable[[Problem, int], str | None]
"""What the scripted model says to a problem at a turn; None fails the request."""


class Receiver(TraceServiceServicer):
    """Keeps the spans it is sent, with the name of their scope."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []

    def Export(  # noqa: N802 - gRPC's name
        self,
        request: ExportTraceServiceRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> ExportTraceServiceResponse:
        """Answer one export."""
        self.spans += [
            (scope.scope.name, span)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return ExportTraceServiceResponse()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Receive OTLP over gRPC, where the stock exporter's environment says."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    receiver = Receiver()
    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(receiver, server)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    yield receiver
    server.stop(None).wait()


def run(
    answer: Answer, monkeypatch: pytest.MonkeyPatch, *flags: str, exporter: SpanExporter | None = None
) -> tuple[list[Any], dict[str, Any], list[str]]:
    """Collect with a scripted model; return the attempts, the summary and the `traceparent` of each request."""
    options = parse(flags)
    split = "heldout" if options.heldout else "train"
    problems = {problem.text: problem for problem in generate(options.episodes, split=split, seed=options.seed)}
    contexts: list[str] = []

    async def respond(request: web.Request) -> web.Response:
        contexts.append(request.headers["traceparent"])
        messages = json.loads(await request.read())["messages"]
        text = answer(problems[messages[1]["content"]], sum(message["role"] == "tool" for message in messages))
        if text is None:
            return web.json_response({"error": {"message": "no"}}, status=400)
        choice = {"index": 0, "message": assistant_message(text), "finish_reason": "stop"}
        return web.json_response(
            {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        )

    async def session() -> tuple[list[Any], dict[str, Any]]:
        async with serving(respond) as url:
            monkeypatch.setenv("OPENAI_BASE_URL", url)
            monkeypatch.setenv("OPENAI_API_KEY", "none")
            return await collect(options, exporter or OTLPSpanExporter())

    results, summary = asyncio.run(session())
    return results, summary, contexts


class serving:  # noqa: N801 - reads as the verb it is
    """Serves chat completions on a free port while a block runs."""

    def __init__(self, respond: Callable[[web.Request], Awaitable[web.Response]]) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", respond)
        self.runner = web.AppRunner(app)

    async def __aenter__(self) -> str:
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}/v1"

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()


def well(problem: Problem, turn: int) -> str:
    """Call the calculator, then say what it said."""
    return f"The answer is {problem.answer}." if turn else call_text(problem.expression)


def attributes(span: Span | Span.Event) -> dict[str, Any]:
    """Return the attributes of a span or event as Python values."""
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}


def test_each_attempt_is_one_trace_with_its_reward_on_the_root(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every span of it arrives, its parent too."""
    results, summary, _ = run(well, monkeypatch, "--episodes", "3", "--attempts", "4", "--concurrency", "5")

    traces: dict[str, list[Span]] = defaultdict(list)
    for _, span in receiver.spans:
        traces[span.trace_id.hex()].append(span)
    assert len(results) == len(traces) == 12
    assert [(row.task_id, row.attempt) for row in results] == [
        (problem.task_id, attempt) for problem in generate(3, split="train", seed=0) for attempt in range(4)
    ]
    for row in results:
        spans = traces[row.trace_id]
        [root] = [span for span in spans if not span.parent_span_id]
        assert attributes(root) == {"spanloop.task.id": row.task_id, "spanloop.split": "train"}
        [event] = root.events
        assert event.name == "gen_ai.evaluation.result"
        assert attributes(event) == {"gen_ai.evaluation.name": "outcome", "gen_ai.evaluation.score.value": 1.0}
        assert {span.parent_span_id for span in spans} - {b""} <= {span.span_id for span in spans}
    assert summary["success"] == 1.0
    assert summary["spans"] == summary["spans_exported"] == len(receiver.spans)
    assert find_faults(summary) == []


def test_the_model_s_endpoint_is_asked_within_the_trace(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry's instrumentation of the HTTP client sends the context: the gateway's span gets a parent."""
    _, _, contexts = run(well, monkeypatch, "--episodes", "4")

    calls = {(span.trace_id.hex(), span.span_id.hex()) for scope, span in receiver.spans if "httpx" in scope}
    assert len(contexts) == 8
    assert {tuple(context.split("-")[1:3]) for context in contexts} == calls


def test_an_error_of_the_tool_is_an_error_in_the_trace(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Agents SDK tells the model; the span's status tells whoever reads the traces."""

    def badly(problem: Problem, turn: int) -> str:
        return well(problem, turn) if turn else call_text("3+")

    results, _, _ = run(badly, monkeypatch, "--episodes", "2")

    tools = [span for _, span in receiver.spans if attributes(span).get("openinference.span.kind") == "TOOL"]
    assert [span.status.code for span in tools] == [Status.STATUS_CODE_ERROR] * 2
    assert [row.reward for row in results] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda _problem, _turn: "I do not know.", None),
        (lambda problem, _turn: call_text(problem.expression), "MaxTurnsExceeded"),
        (lambda _problem, _turn: '<tool_call>{"name": "abacus", "arguments": {}}</tool_call>', "ModelBehaviorError"),
    ],
)
def test_what_the_agent_gets_wrong_earns_zero(
    answer: Answer, error: str | None, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong answer, a call without end, a tool that does not exist: all three are the policy's doing."""
    results, summary, _ = run(answer, monkeypatch, "--episodes", "2", "--heldout")

    assert [(row.reward, row.error) for row in results] == [(0.0, error)] * 2
    roots = [span for _, span in receiver.spans if not span.parent_span_id]
    assert [attributes(root.events[-1])["gen_ai.evaluation.score.value"] for root in roots] == [0.0, 0.0]
    assert {attributes(root)["spanloop.split"] for root in roots} == {"heldout"}
    assert find_faults(summary) == []


def test_a_failing_endpoint_is_not_the_agent_s_fault(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """No reward is given, and the run says that it is unsound."""
    results, summary, _ = run(lambda _problem, _turn: None, monkeypatch, "--episodes", "2")

    assert [(row.reward, row.error) for row in results] == [(None, "BadRequestError")] * 2
    rewards = [event for _, span in receiver.spans for event in span.events if event.name.startswith("gen_ai")]
    assert rewards == []
    assert find_faults(summary) == ["2 attempts failed at the endpoint: {'BadRequestError': 2}"]


class Refusing(SpanExporter):
    """Delivers nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the interface has it
        return SpanExportResult.FAILURE


def test_spans_that_were_dropped_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever trains on what arrived must know that something did not."""
    _, summary, _ = run(well, monkeypatch, "--episodes", "2", exporter=Refusing())

    assert find_faults(summary) == [f"0 of {summary['spans']} spans were delivered"]
