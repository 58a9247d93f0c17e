"""OTLP/gRPC: traces and logs in, bytes to bytes.

No generated stub decodes requests: a stub answers INTERNAL for one bad byte, and the client drops the batch for good.
`maximum_concurrent_rpcs` stays unset: grpcio answers beyond it with RESOURCE_EXHAUSTED, which clients must drop too.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import INVALID_ARGUMENT, PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from foundation.narration import get_logger
from foundation.web.keys import Forbidden, KeysUnreadable, Scope, Unauthenticated
from receiver.decode.otlp import Signal, answer
from receiver.decode.refusals import RETRY_DELAY_S, Overloaded, Undecodable
from receiver.flow.vital import describe
from receiver.intake.access import ANYONE, Access, Principal
from receiver.intake.entry import Intake

log = get_logger("receiver")

NUM_THREADS = 64
"""Each waits on its group's fdatasync, so there must be many more of them than cores."""

STREAMS_A_CONNECTION = 128
"""Requests one client may have under way on a connection; more wait at the client and hold no memory here."""

METHODS = {
    "opentelemetry.proto.collector.trace.v1.TraceService": Signal.TRACES,
    "opentelemetry.proto.collector.logs.v1.LogsService": Signal.LOGS,
}
"""What is served; grpcio answers UNIMPLEMENTED for the rest, metrics among them."""


class GrpcServer:
    """Listens for OTLP/gRPC and answers health checks."""

    def __init__(
        self,
        intake: Intake,
        *,
        max_request_bytes: int,
        access: Access | None = None,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self._intake = intake
        self._access = access
        self._credentials = credentials
        self._health = health.HealthServicer()
        self._server = grpc.server(
            ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="receiver-grpc"),
            options=[
                ("grpc.max_receive_message_length", max_request_bytes),
                ("grpc.so_reuseport", 0),
                ("grpc.max_concurrent_streams", STREAMS_A_CONNECTION),
                # Who says nothing is let go of after the handshake's time, who is gone after an unanswered ping, and
                # who dribbles after the age; a client with requests under way is told to come by a new connection.
                ("grpc.server_handshake_timeout_ms", 2_000),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.max_connection_idle_ms", 600_000),
                ("grpc.max_connection_age_ms", 3_600_000),
                ("grpc.max_connection_age_grace_ms", 60_000),
            ],
        )
        for service, signal in METHODS.items():
            handler = grpc.unary_unary_rpc_method_handler(self._export(signal))
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def start(self, address: str) -> int:
        """Bind and serve; return the port. Raises RuntimeError when the address is taken."""
        if self._credentials is not None:
            port = self._server.add_secure_port(address, self._credentials)
        else:
            port = self._server.add_insecure_port(address)
        if port == 0:
            raise RuntimeError(f"cannot bind {address}")
        self._server.start()
        self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        return int(port)

    def stop(self, grace_s: float) -> None:
        """Refuse new requests and wait for those under way."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()

    def _export(self, signal: Signal) -> Callable[[bytes, Any], bytes]:
        def export(body: bytes, context: Any) -> bytes:  # noqa: ANN401 - grpcio has no types
            try:
                return self._take(signal, body, context)
            except Unauthenticated as error:
                _abort(context, grpc.StatusCode.UNAUTHENTICATED, UNAUTHENTICATED, str(error))
            except Forbidden as error:
                _abort(context, grpc.StatusCode.PERMISSION_DENIED, PERMISSION_DENIED, str(error))
            except Undecodable as error:
                details = BadRequest(field_violations=[BadRequest.FieldViolation(description=str(error))])
                _abort(context, grpc.StatusCode.INVALID_ARGUMENT, INVALID_ARGUMENT, str(error), details)
            except Overloaded as error:
                retry = RetryInfo(retry_delay=Duration(seconds=RETRY_DELAY_S))
                # The specification reads RetryInfo from the status details, the Python SDK from a trailer of its own.
                trailer = ("google.rpc.retryinfo-bin", retry.SerializeToString())
                _abort(context, grpc.StatusCode.UNAVAILABLE, UNAVAILABLE, str(error), retry, trailer)

        return export

    def _take(self, signal: Signal, body: bytes, context: Any) -> bytes:  # noqa: ANN401 - grpcio has no types
        """Store a request. What nobody thought of is our mistake, not the sender's: it may come again."""
        try:
            sender = self._identify(context)
            sender.require(Scope.INGEST)
            return answer(self._intake.take(signal, body, sender=sender), as_json=False)
        except (Unauthenticated, Forbidden, Undecodable, Overloaded):
            raise
        except KeysUnreadable as error:
            raise Overloaded(error.said) from None
        except Exception as error:
            log.warning("a request could not be taken", **describe(error))
            raise Overloaded("an internal error") from error

    def _identify(self, context: Any) -> Principal:  # noqa: ANN401 - grpcio has no types
        if self._access is None:
            return ANYONE
        headers = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        has_certificate = bool(context.auth_context().get("x509_common_name") or context.peer_identities())
        return self._access.identify(headers, has_certificate=has_certificate)


def _abort(context: Any, code: grpc.StatusCode, number: int, text: str, detail: Any = None, *trailers: Any) -> NoReturn:  # noqa: ANN401
    status = Status(code=number, message=text)
    if detail is not None:
        status.details.add().Pack(detail)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()), *trailers))
    context.abort(code, text)
    raise AssertionError("abort raises")
