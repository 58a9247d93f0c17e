"""Stores what was put aside by the way every span comes in: the running receiver's, or the log's where none runs."""

import time
import urllib.error
import urllib.request
from collections import deque
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

from foundation.errors import Busy, SpanloopError
from foundation.web.http import open_url
from otel_exporter.redaction import Redactor
from receiver.decode.otlp import Signal
from receiver.decode.refusals import Overloaded
from receiver.history.aside import Aside
from receiver.intake.entry import Intake, finish
from receiver.intake.importing import PATHS
from receiver.pipeline import Pipeline
from receiver.reading.find import find_receiver

UNDER_WAY = 8
"""Requests handed to the log before the first of them is known to be on disk."""

PATIENCE_S = 120.0
"""How long a receiver that is busy is asked again."""

POST_TIMEOUT_S = 60.0


def store(aside: Aside, data: Path, redactor: Redactor | None) -> None:
    """Store everything that was put aside: through the running receiver, or by the same log where none runs."""
    where = find_receiver(data)
    if where is not None:
        for signal, body in aside.requests():
            _post(where, signal, body)
        return
    with closing(Pipeline(data, purpose="spanloop import")) as pipeline:
        intake = Intake(pipeline, redactor)
        under_way: deque[Future[int]] = deque()
        for signal, body in aside.requests():
            future = _begin(intake, signal, body)
            if future is not None:
                under_way.append(future)
            if len(under_way) >= UNDER_WAY:
                finish(under_way.popleft())
        while under_way:
            finish(under_way.popleft())


def _begin(intake: Intake, signal: Signal, body: bytes) -> "Future[int] | None":
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return intake.begin(signal, body)[1]
        except Overloaded as error:
            if time.monotonic() > deadline:
                raise Busy(f"what was read cannot be stored: {error}", hint="Run the same command again.") from None
            time.sleep(0.2)


def _post(where: dict[str, Any], signal: Signal, body: bytes) -> None:
    url = where["http"]
    headers = {"Content-Type": "application/x-protobuf", "Authorization": f"Bearer {where['token']}"}
    deadline = time.monotonic() + PATIENCE_S
    while True:
        message = urllib.request.Request(url + PATHS[signal], data=body, headers=headers)  # noqa: S310 - our receiver
        try:
            with open_url(message, timeout_s=POST_TIMEOUT_S) as response:
                response.read()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in {429, 503} or time.monotonic() > deadline:
                raise SpanloopError(
                    f"the receiver at {url} answered {error.code} {error.reason}",
                    hint="Once it takes requests, run the same command again: what is stored is not stored twice.",
                ) from error
        except OSError as error:
            raise Busy(
                f"the receiver at {url} stopped answering: {error}",
                hint="Once it runs, run the same command again: what is stored is not stored twice.",
            ) from error
        else:
            return
        time.sleep(0.5)
