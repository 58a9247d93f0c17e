"""Requests go over gRPC by settings of our own, and what becomes of them is one of three things."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from otel_exporter.sending.grpc_post import METHODS, grpc_post
from otel_exporter.sending.post import PREFIX, Refused, Unreachable, read_settings


class Scripted(grpc.GenericRpcHandler):
    """Answers every method with one status, and keeps what came."""

    def __init__(self) -> None:
        self.status = grpc.StatusCode.OK
        self.came: list[tuple[str, dict[str, str], bytes]] = []
        self.port = 0

    def service(self, details: Any) -> Any:
        def answer(body: bytes, context: Any) -> bytes:
            self.came.append((details.method, dict(details.invocation_metadata), body))
            if self.status is not grpc.StatusCode.OK:
                context.abort(self.status, "no")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    with ThreadPoolExecutor(1) as pool:
        own = grpc.server(pool, handlers=[scripted])
        scripted.port = own.add_insecure_port("127.0.0.1:0")
        own.start()
        yield scripted
        own.stop(None).wait()


def settings(endpoint: str, **more: str) -> Any:
    return read_settings({f"{PREFIX}ENDPOINT": endpoint, **{f"{PREFIX}{name}": value for name, value in more.items()}})


@pytest.mark.parametrize("form", ["http://127.0.0.1:{}", "127.0.0.1:{}", "http://127.0.0.1:{}/"])
def test_each_signal_goes_to_its_own_method_with_the_headers_that_were_set(server: Scripted, form: str) -> None:
    """Names of headers in small letters, without which gRPC sends none; with a scheme or without."""
    server.status = grpc.StatusCode.OK
    post = grpc_post(settings(form.format(server.port), HEADERS="X-Key=a%2Cb", COMPRESSION="gzip"))

    for signal in METHODS:
        post(signal, b"body of " + signal.encode())

    assert [(path, body) for path, _, body in server.came[-2:]] == [
        (METHODS[signal], f"body of {signal}".encode()) for signal in METHODS
    ]
    assert server.came[-1][1]["x-key"] == "a,b"


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unreachable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Unreachable),
        (grpc.StatusCode.INVALID_ARGUMENT, Refused),
        (grpc.StatusCode.UNAUTHENTICATED, Refused),
        (grpc.StatusCode.INTERNAL, Refused),
    ],
)
def test_a_receiver_that_cannot_now_is_told_from_one_that_never_will(
    server: Scripted, status: grpc.StatusCode, problem: type[Exception]
) -> None:
    """By the codes that the protocol names; the address and the code are said, the receiver's words are not."""
    server.status = status
    post = grpc_post(settings(f"http://127.0.0.1:{server.port}"))

    with pytest.raises(problem, match=f"127.0.0.1:{server.port} answered {status.name}$"):
        post("traces", b"")


def test_another_scheme_is_refused_before_anything_is_sent() -> None:
    """It names the setting."""
    with pytest.raises(ValueError, match=f"{PREFIX}ENDPOINT is 'unix://x'"):
        grpc_post(settings("unix://x"))
