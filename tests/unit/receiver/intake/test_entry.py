"""The one way in: what is taken, refused and failed is counted by transport, and told in the words of the protocol."""

from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from foundation.web.keys import Scope
from receiver.decode.otlp import Request, Signal
from receiver.decode.refusals import Overloaded, Undecodable
from receiver.intake import entry
from receiver.intake.access import Principal
from receiver.intake.entry import Intake, finish
from receiver.pipeline import Pipeline
from tests.export_requests import logs, span, traces

SHOP = Principal("shop", frozenset({Scope.INGEST}))


class Refusing(Pipeline):
    """Has no room."""

    def submit(self, request: Request, project: str) -> "Future[int]":
        raise Overloaded(f"no room for {len(request.body)} bytes of {project}")


def test_what_was_taken_is_counted_once_it_is_durable(tmp_path: Path) -> None:
    """Spans and log records apart, by transport; the project is the sender's."""
    with closing(Pipeline(tmp_path)) as pipeline:
        intake = Intake(pipeline)
        intake.take(Signal.TRACES, traces(span(1), span(2)).SerializeToString(), sender=SHOP, transport="http")
        intake.take(Signal.LOGS, logs("a").SerializeToString(), sender=SHOP)
        with pipeline.snapshot() as connection:
            assert connection.execute("select distinct project from spans").fetchall() == [("shop",)]

    assert pipeline.counts["accepted_spans http"] == 2
    assert pipeline.counts["accepted_log_records grpc"] == 1


def test_what_cannot_be_stored_is_answered_and_not_logged(tmp_path: Path) -> None:
    """Spans without an identity, and what is no request at all."""
    with closing(Pipeline(tmp_path)) as pipeline:
        intake = Intake(pipeline)
        request, future = intake.begin(Signal.TRACES, traces(span(1, trace_id=b"")).SerializeToString())
        with pytest.raises(Undecodable):
            intake.begin(Signal.TRACES, b"\xff\xff")

    assert (request.num_rejected, future) == (1, None)
    assert (pipeline.counts["rejected_spans"], pipeline.counts["undecodable"]) == (1, 1)


def test_want_of_room_is_counted_as_refused(tmp_path: Path) -> None:
    """The sender comes again; nothing failed."""
    with closing(Refusing(tmp_path)) as pipeline:
        with pytest.raises(Overloaded, match="of shop"):
            Intake(pipeline).take(Signal.TRACES, traces(span(1)).SerializeToString(), sender=SHOP, transport="http")

        assert pipeline.counts["refused_spans http"] == 1
        assert pipeline.counts["failed_spans http"] == 0


@pytest.mark.parametrize(
    ("outcome", "said"), [(OSError(5, "Input/output error"), "Input/output error"), (None, "did not answer")]
)
def test_a_disk_that_fails_or_is_silent_is_retryable(outcome: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever it is, the request may not have been kept."""
    monkeypatch.setattr(entry, "COMMIT_TIMEOUT_S", 0.01)
    future: Future[int] = Future()
    if outcome is not None:
        future.set_exception(outcome)

    with pytest.raises(Overloaded, match=said):
        finish(future)
