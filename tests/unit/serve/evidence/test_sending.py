"""One attempt at a receiver over real gRPC and real HTTP: what its answer says of the next."""

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from serve.evidence.sending import METHOD, RETRY_INFO, GrpcSender, HttpSender, Verdict, has_headers, make_sender

PARTLY = ExportTraceServiceResponse(
    partial_success=ExportTracePartialSuccess(rejected_spans=2, error_message="two are not spans")
).SerializeToString()


class Receiver:
    """Answers as it is told, over either protocol, and remembers bodies and headers."""

    def __init__(self) -> None:
        self.status: Any = None
        self.headers: dict[str, Any] = {}
        self.body = b""
        self.taken: list[tuple[bytes, dict[str, Any]]] = []
        self._grpc = grpc.server(ThreadPoolExecutor(1))
        service, method = METHOD.strip("/").split("/")
        handlers = {method: grpc.unary_unary_rpc_method_handler(self._export)}
        self._grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self.grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.http_port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def _export(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        self.taken.append((body, dict(context.invocation_metadata())))
        context.set_trailing_metadata(tuple(self.headers.items()))
        if self.status is not None:
            context.abort(self.status, "no " * 200)
        return self.body

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.taken.append((body, {"path": self.path, **{k.lower(): v for k, v in self.headers.items()}}))
                self.send_response(receiver.status or 200)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(receiver.body)))
                self.end_headers()
                self.wfile.write(receiver.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def close(self) -> None:
        self._grpc.stop(0).wait()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def started() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def receiver(started: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    for name in ("ENDPOINT", "HEADERS", "PROTOCOL", "COMPRESSION"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_TRACES_{name}", raising=False)
    started.status, started.headers, started.body, started.taken = None, {}, b"", []
    return started


@pytest.fixture
def over_grpc(receiver: Receiver) -> Iterator[GrpcSender]:
    sender = GrpcSender(f"http://127.0.0.1:{receiver.grpc_port}")
    yield sender
    sender.close()


@pytest.fixture
def over_http(receiver: Receiver) -> Iterator[HttpSender]:
    sender = HttpSender(f"http://127.0.0.1:{receiver.http_port}/")
    yield sender
    sender.close()


@pytest.mark.parametrize("protocol", ["over_grpc", "over_http"])
def test_a_request_that_is_taken_may_have_lost_spans(
    receiver: Receiver, protocol: str, request: pytest.FixtureRequest
) -> None:
    """They are counted; an answer nobody can read is of a request that was taken all the same."""
    sender = request.getfixturevalue(protocol)
    found = {}
    for body in (b"", PARTLY, b"\xff\xff"):
        receiver.body = body
        outcome = sender.send(b"spans", None)
        found[body] = (outcome.verdict, outcome.num_refused, outcome.reason)

    assert found == {
        b"": (Verdict.TAKEN, 0, ""),
        PARTLY: (Verdict.TAKEN, 2, "two are not spans"),
        b"\xff\xff": (Verdict.TAKEN, 0, ""),
    }
    assert {body for body, _ in receiver.taken} == {b"spans"}


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, Verdict.NEVER),
        (grpc.StatusCode.NOT_FOUND, Verdict.NEVER),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Verdict.TOO_LARGE),
        (grpc.StatusCode.UNAVAILABLE, Verdict.LATER),
        (grpc.StatusCode.PERMISSION_DENIED, Verdict.LATER),
        (grpc.StatusCode.UNAUTHENTICATED, Verdict.LATER),
        (grpc.StatusCode.UNIMPLEMENTED, Verdict.LATER),
        (grpc.StatusCode.INTERNAL, Verdict.LATER),
    ],
)
def test_what_grpc_says_of_the_next_attempt(
    receiver: Receiver, over_grpc: GrpcSender, status: grpc.StatusCode, verdict: Verdict
) -> None:
    """Only what is wrong with the request itself is given up; a key is asked for where one is wanting."""
    receiver.status = status

    outcome = over_grpc.send(b"", None)

    assert outcome.verdict is verdict
    assert outcome.needs_key == (status is grpc.StatusCode.UNAUTHENTICATED)
    assert outcome.reason.startswith(f"{status.name}: no")
    assert len(outcome.reason) < 250


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, Verdict.NEVER),
        (415, Verdict.NEVER),
        (422, Verdict.NEVER),
        (413, Verdict.TOO_LARGE),
        (401, Verdict.LATER),
        (403, Verdict.LATER),
        (404, Verdict.LATER),
        (429, Verdict.LATER),
        (503, Verdict.LATER),
    ],
)
def test_what_http_says_of_the_next_attempt(
    receiver: Receiver, over_http: HttpSender, status: int, verdict: Verdict
) -> None:
    """A wrong path or key is mended sooner or later, a request is not."""
    receiver.status = status

    outcome = over_http.send(b"", None)

    assert outcome.verdict is verdict
    assert outcome.needs_key == (status == 401)
    assert str(status) in outcome.reason


@pytest.mark.parametrize(
    ("asked", "wait_s"),
    [
        (RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000)).SerializeToString(), 2.5),
        (RetryInfo(retry_delay=Duration(seconds=-5)).SerializeToString(), 0),
        (RetryInfo(retry_delay=Duration(seconds=86_400)).SerializeToString(), 60),
        (RetryInfo(retry_delay=Duration(seconds=2**62)).SerializeToString(), 60),
        (b"\xff\xff", 0),
    ],
)
def test_a_receiver_that_is_full_over_grpc_is_left_alone_for_as_long_as_it_asked(
    receiver: Receiver, over_grpc: GrpcSender, asked: bytes, wait_s: float
) -> None:
    """But for a minute at most, whatever it says; the request is not too large then."""
    receiver.status, receiver.headers = grpc.StatusCode.RESOURCE_EXHAUSTED, {RETRY_INFO: asked}

    outcome = over_grpc.send(b"", None)

    assert (outcome.verdict, outcome.wait_s) == (Verdict.LATER, wait_s)


@pytest.mark.parametrize(
    ("asked", "wait_s"),
    [
        ("2.5", 2.5),
        ("-5", 0),
        ("86400", 60),
        ("inf", 60),
        ("nan", 0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0),
    ],
)
def test_a_receiver_that_is_full_over_http_is_left_alone_for_as_long_as_it_asked(
    receiver: Receiver, over_http: HttpSender, asked: str, wait_s: float
) -> None:
    """But for a minute at most, whatever it says."""
    receiver.status, receiver.headers = 429, {"Retry-After": asked}

    assert over_http.send(b"", None).wait_s == wait_s


def test_settings_of_the_environment_hold_and_our_key_goes_with_each_attempt(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers and compression of the standard variables; the path of traces is ours to add."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=mine")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    assert has_headers()
    for sender in (
        HttpSender(f"http://127.0.0.1:{receiver.http_port}/"),
        GrpcSender(f"http://127.0.0.1:{receiver.grpc_port}"),
    ):
        sender.send(b"spans" * 50, "sl_key")
        sender.close()

    (packed, by_http), (plain, by_grpc) = receiver.taken
    assert gzip.decompress(packed) == plain == b"spans" * 50
    assert by_http["path"] == "/v1/traces"
    assert {by["authorization"] for by in (by_http, by_grpc)} == {"Bearer sl_key"}
    assert {by["x-tenant"] for by in (by_http, by_grpc)} == {"mine"}


def test_a_sender_that_was_closed_loses_nothing(over_grpc: GrpcSender) -> None:
    """An attempt it is still asked for can be made again, by the next one."""
    over_grpc.close()

    assert over_grpc.send(b"", None).verdict is Verdict.LATER


def test_nobody_at_the_port_is_a_reason_to_try_again(receiver: Receiver) -> None:
    """Over either protocol."""
    for sender in (HttpSender("http://127.0.0.1:1"), GrpcSender("http://127.0.0.1:1")):
        outcome = sender.send(b"", None)
        sender.close()
        assert (outcome.verdict, outcome.needs_key) == (Verdict.LATER, False)
        assert outcome.reason


@pytest.mark.parametrize(
    ("endpoint", "is_local"),
    [
        ("http://127.0.0.1:4317", True),
        ("http://LOCALHOST:4317", True),
        ("localhost:4317", True),
        ("[::1]:4317", True),
        ("unix:///run/receiver.sock", True),
        ("unix:/run/receiver.sock", True),
        ("https://localhost.example.com", False),
        ("receiver:4317", False),
    ],
)
def test_what_leads_to_this_machine(receiver: Receiver, endpoint: str, is_local: bool) -> None:
    """As gRPC writes addresses, too: only there is the receiver given a key that was made here."""
    sender = GrpcSender(endpoint)
    sender.close()

    assert sender.is_local is is_local


@pytest.mark.parametrize(
    ("variables", "endpoint", "expected"),
    [
        ({}, None, "127.0.0.1:4317"),
        ({}, "http://receiver:1", "receiver:1"),
        ({"ENDPOINT": "http://named:2"}, None, "named:2"),
        ({"TRACES_ENDPOINT": "http://traces:3"}, None, "traces:3"),
        ({"ENDPOINT": "http://named:2"}, "http://receiver:1", "receiver:1"),
        ({"PROTOCOL": "http/protobuf"}, None, "http://localhost:4318/v1/traces"),
        ({"PROTOCOL": "http/protobuf", "ENDPOINT": "http://named:2"}, None, "http://named:2/v1/traces"),
        ({"PROTOCOL": "http/protobuf", "TRACES_PROTOCOL": "grpc"}, None, "127.0.0.1:4317"),
    ],
)
def test_the_way_is_the_setting_then_the_variables_then_this_machine(
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    endpoint: str | None,
    expected: str,
) -> None:
    """A setting of traces goes before that of all signals."""
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)

    sender = make_sender(endpoint)
    sender.close()

    assert sender.endpoint == expected
