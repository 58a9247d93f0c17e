"""The one way in for every transport: bytes to a stored request, or a refusal each transport can spell."""

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Literal

from foundation.web.keys import Scope
from otel_exporter.messages import change
from otel_exporter.redaction import Redactor
from receiver.decode import otlp
from receiver.decode.native import decode_spans
from receiver.decode.otlp import Request, Signal
from receiver.decode.refusals import Overloaded, Undecodable
from receiver.intake.access import ANYONE, Principal
from receiver.intake.rewards import without_rewards
from receiver.pipeline import Pipeline

COMMIT_TIMEOUT_S = 30.0

Transport = Literal["grpc", "http"]


class Intake:
    """Checks requests and hands them to the pipeline."""

    def __init__(self, pipeline: Pipeline, redactor: Redactor | None = None) -> None:
        self._pipeline = pipeline
        self._redactor = redactor
        self._counting = threading.Lock()

    def take(
        self,
        signal: Signal,
        body: bytes,
        *,
        sender: Principal = ANYONE,
        transport: Transport = "grpc",
        read: Callable[[Signal, bytes], Request] = otlp.read_protobuf,
    ) -> Request:
        """Store a request durably and return it, for its answer. Blocks until it is on disk.

        Raises `Undecodable` for what is not a request and `Overloaded` for what cannot be kept now.
        """
        request, future = self.begin(signal, body, sender=sender, transport=transport, read=read)
        if future is not None:
            finish(future)
        return request

    def begin(
        self,
        signal: Signal,
        body: bytes,
        *,
        sender: Principal = ANYONE,
        transport: Transport = "grpc",
        read: Callable[[Signal, bytes], Request] = otlp.read_protobuf,
    ) -> tuple[Request, "Future[int] | None"]:
        """Check a request and start storing it. There is no future when nothing of it can be stored.

        Counts, per transport: accepted is durable, refused is asked to come again for want of room, failed met an error
        of the disk.
        """
        try:
            request = read(signal, body)
        except Undecodable:
            self._count(undecodable=1)
            raise
        if Scope.REWARD not in sender.scopes:
            request = without_rewards(request)
        if self._redactor is not None and request.num_items:
            request = self._redacted(request, self._redactor)
        kind = "spans" if signal is Signal.TRACES else "log_records"
        self._count(
            **{f"rejected_{kind}": request.num_rejected},
            repaired_fields=request.num_repaired,
            refused_rewards=request.num_rewards_refused,
        )
        if request.num_items == request.num_rejected:
            return request, None
        num_kept = request.num_items - request.num_rejected

        def settle(done: "Future[int]") -> None:
            outcome = "accepted" if done.exception() is None else "failed"
            self._count(**{f"{outcome}_{kind} {transport}": num_kept})

        try:
            future = self._pipeline.submit(request, sender.project)
        except Overloaded:
            self._count(**{f"refused_{kind} {transport}": num_kept}, refused_requests=1)
            raise
        future.add_done_callback(settle)
        return request, future

    def _redacted(self, request: Request, redactor: Redactor) -> Request:
        """Return a request without secrets, before anything of it is on disk."""
        message = request.message
        num_changed = change(message, redactor)
        if not num_changed:
            return request
        self._count(redacted_values=num_changed)
        body = message.SerializeToString()
        spans = decode_spans(body) if request.spans is not None else None
        return dataclasses.replace(request, body=body, spans=spans)

    def _count(self, **increments: int) -> None:
        with self._counting:
            self._pipeline.counts.update(increments)


def finish(future: "Future[int]") -> int:
    """Wait until a request is on disk and return its number."""
    try:
        return future.result(COMMIT_TIMEOUT_S)
    except TimeoutError:
        raise Overloaded("the disk did not answer in time") from None
    except OSError as error:
        raise Overloaded(f"the disk refused: {error.strerror or type(error).__name__}") from error
