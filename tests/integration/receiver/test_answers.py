"""Every situation of the OTLP specification and the answer to it, over gRPC and HTTP."""

import gzip
import json
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pyarrow as pa
import pytest
from google.rpc.code_pb2 import INVALID_ARGUMENT
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from receiver.intake.entry import Intake
from receiver.intake.grpc_server import GrpcServer
from receiver.log.disk import OsDisk
from receiver.pipeline import Pipeline
from tests.export_requests import logs, span, traces
from tests.integration.receiver.processes import LOGS, TRACES, Receiver, running

pytestmark = pytest.mark.integration

PROTOBUF = {"Content_Type": "application/x-protobuf"}


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with running(tmp_path_factory.mktemp("answers") / "data", "--max-request-mb", "1") as receiver:
        yield receiver


def refusal(receiver: Receiver, body: bytes, method: str = TRACES) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        receiver.export(body, method)
    return caught.value


def test_accepted_and_empty_requests_are_ok(receiver: Receiver) -> None:
    """The answer is empty: no partial success."""
    assert receiver.export(traces(span(1)).SerializeToString()) == b""
    assert receiver.export(b"") == b""
    assert receiver.export(logs("x").SerializeToString(), LOGS) == b""
    status, headers, body = receiver.post("/v1/traces", b"", **PROTOBUF)
    assert (status, headers["Content-Type"], body) == (200, "application/x-protobuf", b"")


def test_unusable_spans_are_a_partial_success(receiver: Receiver) -> None:
    """The good ones are stored; the answer counts the others; the client must not retry."""
    body = traces(span(1, trace_id=b"short"), span(77)).SerializeToString()

    for answer in (receiver.export(body), receiver.post("/v1/traces", body, **PROTOBUF)[2]):
        assert ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans == 1
    assert receiver.sql("select count(*) as n from spans where span_id = '000000000000004d'") == [{"n": 1}]


def test_undecodable_requests_are_invalid(receiver: Receiver) -> None:
    """INVALID_ARGUMENT, 400 with a Status in the request's encoding: never again."""
    assert refusal(receiver, b"\xff\xff").code() is grpc.StatusCode.INVALID_ARGUMENT
    status, _, body = receiver.post("/v1/traces", b"\xff\xff", **PROTOBUF)
    assert (status, Status.FromString(body).code) == (400, INVALID_ARGUMENT)
    status, _, body = receiver.post("/v1/logs", b"{", Content_Type="application/json")
    assert (status, json.loads(body)["code"]) == (400, INVALID_ARGUMENT)
    status, *_ = receiver.post("/v1/traces", b"not gzip", **PROTOBUF, Content_Encoding="gzip")
    assert status == 400
    status, *_ = receiver.post("/v1/traces", gzip.compress(b"x" * 1000)[:-9], **PROTOBUF, Content_Encoding="gzip")
    assert status == 400
    status, *_ = receiver.post("/v1/traces", b"", **PROTOBUF, Content_Encoding="br")
    assert status == 415
    assert receiver.post("/v1/traces", b"", Content_Type="text/plain")[0] == 415


def test_too_large_requests_are_refused_without_retry(receiver: Receiver) -> None:
    """RESOURCE_EXHAUSTED without RetryInfo and 413, before and after inflation, bombs included."""
    large = traces(span(1, name="x" * (1 << 20))).SerializeToString()
    error = refusal(receiver, large)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "google.rpc.retryinfo-bin" not in dict(error.trailing_metadata() or ())
    assert receiver.post("/v1/traces", large, **PROTOBUF)[0] == 413
    bomb = gzip.compress(bytes(200 << 20), compresslevel=1)
    assert len(bomb) < 1 << 20
    assert receiver.post("/v1/traces", bomb, **PROTOBUF, Content_Encoding="gzip")[0] == 413


def test_other_signals_are_not_served(receiver: Receiver) -> None:
    """Metrics: UNIMPLEMENTED and 404."""
    error = refusal(receiver, b"", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert receiver.post("/v1/metrics", b"", **PROTOBUF)[0] == 404


def test_health_is_told_over_both_protocols(receiver: Receiver) -> None:
    """GRPC health, /healthz, /readyz, and counters under the Collector's names."""
    request = HealthCheckRequest().SerializeToString()
    answer = receiver.export(request, "/grpc.health.v1.Health/Check")
    assert HealthCheckResponse.FromString(answer).status == HealthCheckResponse.SERVING
    for path in ("/healthz", "/readyz"):
        assert receiver.post(path, b"")[0] == 405
    for path, expected in (
        ("/healthz", "ok"),
        ("/readyz", "ready"),
        ("/metrics", "otelcol_receiver_accepted_spans_total"),
    ):
        with urllib.request.urlopen(receiver.http + path) as response:
            assert expected in response.read().decode()


class FullDisk(OsDisk):
    """A disk without space until told otherwise."""

    def __init__(self) -> None:
        self.is_full = False

    def sync(self, handle: int) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        super().sync(handle)


def test_a_full_disk_is_unavailable_with_advice_in_both_trailers_and_recovers(tmp_path: Path) -> None:
    """Not acknowledged, retryable at once in a second, and service resumes when there is space."""
    disk = FullDisk()
    pipeline = Pipeline(tmp_path, disk=disk, land_every_s=0.1)
    server = GrpcServer(Intake(pipeline), max_request_bytes=1 << 20)
    port = server.start("127.0.0.1:0")
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            export = channel.unary_unary(TRACES)
            export(traces(span(1)).SerializeToString(), timeout=10)
            disk.is_full = True
            for _ in range(3):
                with pytest.raises(grpc.RpcError) as refused:
                    export(traces(span(2)).SerializeToString(), timeout=10)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
                trailers = dict(refused.value.trailing_metadata())
                advice = RetryInfo()
                assert Status.FromString(trailers["grpc-status-details-bin"]).details[0].Unpack(advice)
                assert advice == RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"])
                assert 1 <= advice.retry_delay.seconds <= 2
            disk.is_full = False
            export(traces(span(3)).SerializeToString(), timeout=10)
        with pipeline.snapshot() as connection:
            stored = {row[0] for row in connection.execute("select span_id from spans").fetchall()}
        assert {"0000000000000001", "0000000000000003"} <= stored
    finally:
        server.stop(1)
        pipeline.close()


def test_a_full_backlog_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that finds no room in time is refused, and memory stays bounded."""
    monkeypatch.setattr("receiver.flow.admission.HOLD_S", 0.05)
    pipeline = Pipeline(tmp_path, max_backlog_bytes=20_000, land_every_s=60)
    server = GrpcServer(Intake(pipeline), max_request_bytes=1 << 20)
    port = server.start("127.0.0.1:0")
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            export = channel.unary_unary(TRACES)
            codes = []
            for number in range(1, 30):
                try:
                    export(traces(span(number, name="x" * 2000)).SerializeToString(), timeout=10)
                except grpc.RpcError as error:
                    codes.append(error.code())
        assert codes
        assert set(codes) == {grpc.StatusCode.UNAVAILABLE}
        assert pipeline.backlog_bytes <= 40_000
    finally:
        server.stop(1)
        pipeline.close()


def test_every_common_compression_is_taken_over_http(receiver: Receiver) -> None:
    """A Collector takes a 400 for final, so what its exporter can be set to has to be read."""
    body = traces(span(78, name="compressed")).SerializeToString()
    compressed = {"gzip": gzip.compress(body), "deflate": zlib.compress(body)}
    compressed["zstd"] = pa.Codec("zstd").compress(body).to_pybytes()
    for encoding, sent in compressed.items():
        assert receiver.post("/v1/traces", sent, **PROTOBUF, Content_Encoding=encoding)[0] == 200, encoding

    assert receiver.sql("select count(*) as n from spans where name = 'compressed'") == [{"n": 1}]


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_every_compression_of_the_library_is_taken_over_grpc(receiver: Receiver, compression: grpc.Compression) -> None:
    """Grpcio has these two; it answers UNIMPLEMENTED to others, and names them."""
    body = traces(*(span(number) for number in range(1, 100))).SerializeToString()
    with grpc.insecure_channel(receiver.grpc, compression=compression) as channel:
        assert channel.unary_unary(TRACES)(body, timeout=10) == b""


@pytest.mark.long
def test_pages_are_kept_out_unless_their_origin_is_allowed(receiver: Receiver, tmp_path: Path) -> None:
    """Loopback is no trust: a page the user visits is on this machine too."""
    reward = b'{"trace_id": "0123456789abcdef0123456789abcdef", "name": "forged", "value": 1}'
    page = {"Origin": "https://page.example", "Content_Type": "text/plain"}
    assert receiver.post("/v1/rewards", reward, **page)[0] == 403
    assert receiver.post("/v1/sql", b'{"sql": "select 1"}', Host="rebound.example:4318")[0] == 403
    with running(tmp_path / "data", "--cors-allowed-origins", "https://page.example") as open_to_it:
        status, headers, _ = open_to_it.post("/v1/rewards", reward, **page)
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, "https://page.example")
        assert open_to_it.post("/v1/sql", b'{"sql": "select 1"}', **page)[0] == 403
