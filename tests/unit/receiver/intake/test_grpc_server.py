"""What the gRPC port answers, by the handler itself: codes, details and trailers."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from foundation.web.keys import Forbidden, KeysUnreadable, Scope, Unauthenticated
from receiver.decode.otlp import Signal
from receiver.decode.refusals import Overloaded, Undecodable
from receiver.intake.access import Access, Principal
from receiver.intake.entry import Intake
from receiver.intake.grpc_server import GrpcServer
from receiver.pipeline import Pipeline
from tests.export_requests import span, traces


class Aborted(Exception):
    """What grpcio raises out of a handler that gives up."""


class Context:
    """A call, as a handler sees it."""

    def __init__(self, *metadata: tuple[str, Any]) -> None:
        self.metadata = metadata
        self.code: grpc.StatusCode | None = None
        self.trailers: dict[str, bytes] = {}

    def invocation_metadata(self) -> tuple[tuple[str, Any], ...]:
        return self.metadata

    def auth_context(self) -> dict[str, Any]:
        return {}

    def peer_identities(self) -> None:
        return None

    def set_trailing_metadata(self, trailers: Any) -> None:
        self.trailers = dict(trailers)

    def abort(self, code: grpc.StatusCode, text: str) -> None:
        self.code = code
        raise Aborted(text)

    @property
    def status(self) -> Status:
        return Status.FromString(self.trailers["grpc-status-details-bin"])


class Refusing(Intake):
    """Raises what it is given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def take(self, *_: Any, **__: Any) -> Any:
        raise self.error


class Keys(Access):
    """Knows one key, and raises for others what it is given."""

    def __init__(self, error: Exception | None = None, scope: Scope = Scope.INGEST) -> None:
        self.error, self.scope = error, scope
        self.seen: dict[str, str] = {}

    def identify(self, headers: Any, *, has_certificate: bool) -> Principal:  # noqa: ARG002 - as `Access` has it
        self.seen = dict(headers)
        if self.error is not None:
            raise self.error
        return Principal("shop", frozenset({self.scope}))


def handler(intake: Intake, access: Access | None = None) -> Callable[[bytes, Any], bytes]:
    return GrpcServer(intake, max_request_bytes=1 << 20, access=access)._export(Signal.TRACES)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Undecodable("no request"), grpc.StatusCode.INVALID_ARGUMENT, "no request"),
        (Overloaded("no room"), grpc.StatusCode.UNAVAILABLE, "no room"),
        (KeyError("ours"), grpc.StatusCode.UNAVAILABLE, "an internal error"),
    ],
)
def test_a_refusal_says_whether_to_come_again(error: Exception, code: grpc.StatusCode, said: str) -> None:
    """A mistake of ours is retryable, and its text stays here; INTERNAL would lose the batch."""
    context = Context()

    with pytest.raises(Aborted, match=said):
        handler(Refusing(error))(b"", context)

    assert context.code is code
    assert [context.status.code, context.status.message] == [code.value[0], said]
    (detail,) = context.status.details
    is_retryable = code is grpc.StatusCode.UNAVAILABLE
    assert detail.Is((RetryInfo if is_retryable else BadRequest).DESCRIPTOR)
    assert ("google.rpc.retryinfo-bin" in context.trailers) is is_retryable


@pytest.mark.parametrize(
    ("access", "code"),
    [
        (Keys(Unauthenticated("who?")), grpc.StatusCode.UNAUTHENTICATED),
        (Keys(Forbidden("not you")), grpc.StatusCode.PERMISSION_DENIED),
        (Keys(scope=Scope.QUERY), grpc.StatusCode.PERMISSION_DENIED),
        (Keys(KeysUnreadable("damaged")), grpc.StatusCode.UNAVAILABLE),
    ],
    ids=["nobody", "not allowed", "another scope", "keys cannot be read"],
)
def test_who_may_not_send_is_refused_before_anything_is_read(access: Keys, code: grpc.StatusCode) -> None:
    """Where the keys cannot be read nobody can be judged: it may come again."""
    context = Context(("x-api-key", "k"), ("trace-bin", b"\x00"))

    with pytest.raises(Aborted):
        handler(Refusing(AssertionError("was read")), access)(b"\xff", context)

    assert context.code is code
    assert "damaged" not in context.status.message
    assert access.seen == {"x-api-key": "k"}, "binary metadata is no header"


def test_what_is_sent_is_the_senders_projects(tmp_path: Path) -> None:
    """And bad spans in it are counted in the answer, not refused with the good ones."""
    with closing(Pipeline(tmp_path)) as pipeline:
        body = traces(span(1), span(2, trace_id=b"short")).SerializeToString()

        answer = handler(Intake(pipeline), Keys())(body, Context())

        with pipeline.snapshot() as connection:
            assert connection.execute("select project from spans").fetchall() == [("shop",)]
    assert answer != b""


def test_an_address_that_is_taken_is_said_to_be() -> None:
    """Two servers never share a port: each would get half of the spans."""
    first, second = (GrpcServer(Refusing(KeyError()), max_request_bytes=1) for _ in range(2))
    port = first.start("127.0.0.1:0")
    try:
        with pytest.raises(RuntimeError):
            second.start(f"127.0.0.1:{port}")
    finally:
        first.stop(0)
        second.stop(0)
