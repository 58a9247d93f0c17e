"""From a request to a row, and what becomes of both when a part of the receiver fails."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from receiver.days.files import day_files
from receiver.decode.otlp import Request, Signal, read_protobuf
from receiver.decode.refusals import Overloaded, Undecodable
from receiver.pipeline import PATIENCE_S, Pipeline
from tests.export_requests import attribute, span, traces


def request(number: int) -> Request:
    return read_protobuf(Signal.TRACES, traces(span(number)).SerializeToString())


def names(pipeline: Pipeline) -> int:
    with pipeline.snapshot() as connection:
        return int(connection.execute("select count(*) from spans").fetchall()[0][0])


@pytest.fixture
def failures() -> list[bool]:
    return []


@pytest.fixture
def pipeline(tmp_path: Path, failures: list[bool]) -> Iterator[Pipeline]:
    with closing(Pipeline(tmp_path, land_every_s=0.05, on_failure=lambda: failures.append(True))) as pipeline:
        yield pipeline


@pytest.mark.parametrize("thread", ["_digester", "_lander"])
def test_a_dead_thread_refuses_what_comes_and_ends_the_service(
    pipeline: Pipeline, failures: list[bool], monkeypatch: pytest.MonkeyPatch, thread: str, tmp_path: Path
) -> None:
    """What was acknowledged is there at the next start; nothing more is acknowledged."""

    def die(*_: object, **__: object) -> None:
        raise SystemExit

    monkeypatch.setattr(pipeline, "_publish" if thread == "_digester" else "_wait_for_rows", die)
    pipeline.submit(request(1), "default").result(10)
    getattr(pipeline, thread).join(10)

    assert failures == [True]
    assert pipeline.refusal is not None
    assert "SystemExit" in pipeline.refusal
    with pytest.raises(Overloaded, match="has died"):
        pipeline.submit(request(2), "default")
    pipeline.close()
    with closing(Pipeline(tmp_path)) as later:
        assert names(later) == 1


def test_a_day_file_that_is_removed_while_in_use_comes_back(pipeline: Pipeline, tmp_path: Path) -> None:
    """Its rows are still in the open file: they are written anew, and none is lost at the end."""
    pipeline.submit(request(1), "default").result(10)
    assert names(pipeline) == 1
    pipeline.store.land()
    (path,) = day_files(tmp_path).values()
    path.unlink()
    returned = threading.Event()
    while not path.exists():
        returned.wait(0.01)
    pipeline.submit(request(2), "default").result(10)
    pipeline.close()

    with closing(Pipeline(tmp_path)) as later:
        assert names(later) == 2


def test_a_clean_end_leaves_no_prompts_in_the_log(pipeline: Pipeline, tmp_path: Path) -> None:
    """They are in the day file and nowhere else, and nobody but the user can read that."""
    pipeline.submit(request(1), "default").result(10)
    pipeline.close()

    assert list((tmp_path / "wal").iterdir()) == []
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.rglob("*")}
    assert set(modes.values()) == {0}, modes


def with_large_resource(num_spans: int, *, first: int = 1, size: int = 1 << 20) -> bytes:
    message = traces(*(span(number, name=f"work {number}") for number in range(first, first + num_spans)))
    resource = message.resource_spans[0]
    resource.resource.attributes.append(attribute("large", "x" * size))
    resource.scope_spans[0].scope.attributes.append(attribute("large", "y" * 10_000))
    return message.SerializeToString()


SIZES = "select count(*), min(length(resource)), max(length(resource)), min(length(scope_attributes)) from spans"


def test_a_large_resource_is_kept_once_and_shown_with_every_span(pipeline: Pipeline, tmp_path: Path) -> None:
    """It was acknowledged, outgrew its column and was lost; in a day file it took a copy a span."""
    body = with_large_resource(2200)
    pipeline.submit(read_protobuf(Signal.TRACES, body), "default").result(30)
    expected = [(2200, (1 << 20) + 35, (1 << 20) + 35, 10_012)]
    for landed in (False, True):
        if landed:
            pipeline.store.land()
        with pipeline.snapshot() as connection:
            assert connection.execute(SIZES).fetchall() == expected
    pipeline.close()

    assert pipeline.counts["undecodable_requests"] == 0
    (path,) = day_files(tmp_path).values()
    assert path.stat().st_size < 8 << 20
    with closing(Pipeline(tmp_path)) as later, later.snapshot() as connection:
        assert connection.execute(SIZES).fetchall() == expected
        assert connection.execute("select count(*) from spans where resource like '%xxx%'").fetchall() == [(2200,)]


def test_a_span_that_comes_again_with_its_large_resource_is_the_same(pipeline: Pipeline) -> None:
    """Hot or landed, and with new ones beside it: each is stored once and shown with its resource."""
    for count in (2, 2, 3):
        request = read_protobuf(Signal.TRACES, with_large_resource(count, size=9000))
        pipeline.submit(request, "default").result(10)
        with pipeline.snapshot() as connection:
            assert connection.execute(SIZES).fetchall()[0][:2] == (count, 9035)
        pipeline.store.land()

    assert (pipeline.store.counts["duplicate_spans"], pipeline.store.counts["conflicting_spans"]) == (4, 0)


def test_names_of_scopes_are_bounded_and_a_request_that_would_fill_memory_is_refused() -> None:
    """What stands in every row is short, and not many gigabytes in all."""
    message = traces(span(1))
    message.resource_spans[0].scope_spans[0].scope.name = "n" * 5000
    request = read_protobuf(Signal.TRACES, message.SerializeToString())
    assert len(request.message.resource_spans[0].scope_spans[0].scope.name) == 1024
    assert (request.num_items, request.num_rejected, request.num_repaired) == (1, 0, 1)

    message = traces(*[span(1)] * 200_000)
    message.resource_spans[0].resource.attributes.append(attribute("large", "x" * 4000))
    with pytest.raises(Undecodable, match="send fewer at once"):
        read_protobuf(Signal.TRACES, message.SerializeToString())


def test_a_query_sees_what_was_acknowledged_or_does_not_wait_for_a_disk_that_refuses(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding may lag on a starved machine: it is waited for. While nothing can be shown at all, the rest is."""
    pipeline.submit(request(1), "default").result(10)
    assert names(pipeline) == 1
    publish, refuses = pipeline.store.publish, threading.Event()
    refuses.set()

    def sometimes(decoded: Any) -> None:
        if refuses.is_set():
            raise OSError("the disk is full")
        publish(decoded)

    monkeypatch.setattr(pipeline.store, "publish", sometimes)
    pipeline.submit(request(2), "default").result(10)
    began = time.monotonic()
    assert names(pipeline) == 1
    assert time.monotonic() - began < PATIENCE_S
    refuses.clear()
    while names(pipeline) < 2:  # until the digest has tried again
        pass


def test_an_idle_receiver_is_told_so_once_until_something_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a start that nothing followed, and after each burst."""
    monkeypatch.setattr("receiver.pipeline.UPKEEP_EVERY_S", 0.0)
    idle: queue.SimpleQueue[int] = queue.SimpleQueue()
    with closing(Pipeline(tmp_path, land_every_s=0.02, on_idle=lambda: idle.put(1))) as pipeline:
        for number in (1, 2, 3):
            assert idle.get(timeout=60)
            pipeline.submit(request(number), "default").result(10)
        assert idle.get(timeout=60)
    assert idle.empty()
