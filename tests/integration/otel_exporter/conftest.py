"""OTLP receivers of this machine that keep what they are sent."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


@dataclass
class Sink(TraceServiceServicer):
    """Keeps the names of the spans it was sent, and the metadata of each request."""

    endpoint: str = ""
    spans: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def keep(self, request: ExportTraceServiceRequest, headers: dict[str, str]) -> None:
        """Keep one request."""
        self.headers.append(headers)
        self.spans += [
            span.name for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
        ]

    def Export(  # noqa: N802 - gRPC's name
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        """Answer one export over gRPC."""
        self.keep(request, {key: str(value) for key, value in context.invocation_metadata()})
        return ExportTraceServiceResponse()


def serve_grpc(credentials: grpc.ServerCredentials | None = None) -> Iterator[Sink]:
    """Yield a sink that listens for gRPC, encrypted where credentials are given."""
    sink = Sink()
    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(sink, server)
    if credentials:
        sink.endpoint = f"https://localhost:{server.add_secure_port('localhost:0', credentials)}"
    else:
        sink.endpoint = f"http://localhost:{server.add_insecure_port('localhost:0')}"
    server.start()
    yield sink
    server.stop(None).wait()


@pytest.fixture
def spanloop_sink() -> Iterator[Sink]:
    """Receive what goes to Spanloop."""
    yield from serve_grpc()


@pytest.fixture
def vendor_sink() -> Iterator[Sink]:
    """Receive what goes to the backend that was there before."""
    yield from serve_grpc()


@pytest.fixture
def encrypted_sink(certificate: tuple[Path, Path]) -> Iterator[Sink]:
    """Receive over TLS, with a certificate that only `certificate` vouches for."""
    key, chain = (path.read_bytes() for path in certificate)
    yield from serve_grpc(grpc.ssl_server_credentials([(key, chain)]))


@pytest.fixture
def http_sink() -> Iterator[Sink]:
    """Receive protobuf over HTTP, at /v1/traces alone."""
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces":
                sink.keep(
                    ExportTraceServiceRequest.FromString(body),
                    {key.lower(): value for key, value in self.headers.items()},
                )
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's signature
            """Keep quiet."""

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    sink.endpoint = f"http://localhost:{server.server_port}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield sink
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the files of a private key and a certificate for localhost, made for this run."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    key_file, chain_file = directory / "key.pem", directory / "cert.pem"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    chain_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return key_file, chain_file
