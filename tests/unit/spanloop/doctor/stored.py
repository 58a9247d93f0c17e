"""Spans in a receiver's directory, and one finding among many."""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from receiver.decode.otlp import Signal, read_protobuf
from receiver.pipeline import Pipeline
from spanloop.doctor.finding import Finding
from tests.export_requests import attribute, span, traces


def store(data: Path, *spans: Any, ago_s: int = 0, scope: str = "tests") -> None:
    """Have spans arrive, so many seconds ago."""
    request = traces(*spans)
    request.resource_spans[0].scope_spans[0].scope.name = scope
    with contextlib.closing(Pipeline(data, clock=lambda: time.time_ns() - ago_s * 10**9)) as pipeline:
        pipeline.submit(read_protobuf(Signal.TRACES, request.SerializeToString()), "default").result(10)


def call(number: int = 1) -> Any:
    """Return the span of a model call that carries nothing."""
    made = span(number, name="chat")
    made.attributes.append(attribute("gen_ai.operation.name", "chat"))
    return made


def about(findings: Iterable[Finding], check: str) -> Finding:
    """Return the one finding of a check."""
    (finding,) = [finding for finding in findings if finding.check == check]
    return finding
