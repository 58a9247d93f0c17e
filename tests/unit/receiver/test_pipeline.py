"""From a request to a row, and what becomes of both when a part of the receiver fails."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from receiver.decode.otlp import Request, Signal, read_protobuf
from receiver.decode.refusals import Overloaded
from receiver.pipeline import Pipeline
from receiver.store.days import day_files
from tests.export_requests import span, traces


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
