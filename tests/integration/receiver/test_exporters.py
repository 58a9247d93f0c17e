"""Real OpenTelemetry exporters against a running receiver."""

import gzip
import json
from pathlib import Path

import grpc
import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from tests.commands import spanloop
from tests.export_requests import logs, span, traces
from tests.integration.receiver.processes import Receiver, running

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory):
    with running(tmp_path_factory.mktemp("exporters") / "data") as receiver:
        yield receiver


def emit(exporter: SpanExporter, service: str) -> None:
    provider = TracerProvider(resource=Resource({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("tests", "1.2")
    with tracer.start_as_current_span("outer", attributes={"text": "naïve", "numbers": [1, 2], "ratio": 2.0}) as outer:
        outer.add_event("noted", {"why": "test"})
        for number in range(20):
            with tracer.start_as_current_span(f"inner-{number}"):
                pass
    provider.shutdown()


@pytest.mark.parametrize("protocol", ["grpc", "grpc-gzip", "http", "http-gzip"])
def test_spans_of_the_sdk_arrive_whole(receiver: Receiver, protocol: str) -> None:
    """Every stock exporter, with and without compression: all spans, their tree and their attributes."""
    exporters = {
        "grpc": lambda: GrpcSpanExporter(receiver.grpc, insecure=True),
        "grpc-gzip": lambda: GrpcSpanExporter(receiver.grpc, insecure=True, compression=grpc.Compression.Gzip),
        "http": lambda: HttpSpanExporter(f"{receiver.http}/v1/traces"),
        "http-gzip": lambda: HttpSpanExporter(f"{receiver.http}/v1/traces", compression=Compression.Gzip),
    }
    emit(exporters[protocol](), service=protocol)

    (row,) = receiver.sql(
        f"""
        select count(*) as spans, count(distinct trace_id) as traces, count(parent_span_id) as children,
            max(attributes) filter (where name = 'outer') as attributes,
            max(events->>'$[0].name') as event, max(scope_version) as version
        from spans where service_name = '{protocol}'
        """
    )
    assert json.loads(row.pop("attributes")) == {"text": "naïve", "numbers": [1, 2], "ratio": 2.0}
    assert row == {"spans": 21, "traces": 1, "children": 20, "event": "noted", "version": "1.2"}


def test_log_records_of_the_sdk_arrive(receiver: Receiver) -> None:
    """GenAI events and evaluations come as log records."""
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(receiver.grpc, insecure=True)))
    provider.get_logger("tests").emit(
        LogRecord(
            timestamp=1_000, event_name="gen_ai.evaluation.result", severity_number=SeverityNumber.INFO,
            body={"nested": [1, "two"]}, attributes={"gen_ai.evaluation.score.value": 1.0},
        )
    )  # fmt: skip
    provider.shutdown()

    (row,) = receiver.sql("select body, attributes from log_records where event_name = 'gen_ai.evaluation.result'")
    assert json.loads(row["body"]) == {"nested": [1, "two"]}
    assert json.loads(row["attributes"]) == {"gen_ai.evaluation.score.value": 1.0}


def test_json_over_http_arrives(receiver: Receiver) -> None:
    """As browsers and scripts send it, compressed or not."""
    body = {
        "resourceSpans": [
            {"scopeSpans": [{"spans": [{"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "from json"}]}]}
        ]
    }
    status, headers, answer = receiver.post(
        "/v1/traces", gzip.compress(json.dumps(body).encode()), Content_Type="application/json", Content_Encoding="gzip"
    )

    assert (status, headers["Content-Type"].split(";")[0], answer) == (200, "application/json", b"{}")
    assert receiver.sql("select name from spans where trace_id = repeat('ab', 16)") == [{"name": "from json"}]


def test_rewards_over_http_arrive(receiver: Receiver) -> None:
    """A reward is a log record of the judged trace; a wrong one names its field."""
    good = json.dumps({"trace_id": "ef" * 16, "name": "outcome", "value": 0.25}).encode()

    assert receiver.post("/v1/rewards", good)[0] == 200
    status, _, answer = receiver.post("/v1/rewards", b'{"trace_id": "1", "name": "x", "value": 1}')

    assert status == 400
    assert "trace_id" in json.loads(answer)["error"]
    rows = receiver.sql(
        """
        select attributes->>'$."gen_ai.evaluation.score.value"' as value
        from log_records where trace_id = repeat('ef', 16)
        """
    )
    assert rows == [{"value": "0.25"}]


def test_a_span_is_queryable_at_once(receiver: Receiver) -> None:
    """A query sees every request acknowledged before it."""
    for number in range(1, 30):
        receiver.export(traces(span(number, trace_id=b"A" * 16)).SerializeToString())
        assert receiver.sql(f"select count(*) as n from spans where trace_id = '{b'A'.hex() * 16}'") == [{"n": number}]


def test_import_through_a_running_receiver_changes_nothing_the_second_time(receiver: Receiver, tmp_path: Path) -> None:
    """Spans are known by their ids, log requests by their bytes."""
    data = receiver.log.with_suffix("")
    (tmp_path / "one.pb").write_bytes(traces(span(1, trace_id=b"I" * 16)).SerializeToString())
    (tmp_path / "one.logs.pb").write_bytes(logs("imported").SerializeToString())
    files = [str(path) for path in sorted(tmp_path.iterdir())]

    for _ in range(2):
        result = spanloop("receiver", "import", "--data", str(data), "--json", *files)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["spans"] == 1

    assert receiver.sql(f"select count(*) as n from spans where trace_id = '{b'I'.hex() * 16}'") == [{"n": 1}]
    assert receiver.sql("""select count(*) as n from log_records where body = '"imported"'""") == [{"n": 1}]


def test_nothing_of_a_prompt_reaches_the_narration(receiver: Receiver) -> None:
    """A canary sent in every place, readable and broken, is nowhere in the receiver's output."""
    canary = "kanarienvogel"
    body = traces(span(1, name=canary, trace_id=b"C" * 16)).SerializeToString()
    receiver.export(body)
    for broken in (body[:-2], body.replace(canary.encode(), canary[:-1].encode() + b"\xff")):
        receiver.post("/v1/traces", broken, Content_Type="application/x-protobuf")
    receiver.post("/v1/traces", canary.encode(), Content_Type="application/json")
    receiver.post("/v1/rewards", json.dumps({"trace_id": canary, "name": canary}).encode())

    assert canary[:-1] not in receiver.log.read_text()
