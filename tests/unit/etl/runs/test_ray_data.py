"""What a task on a cluster is sent, and what it sends back; the cluster itself is not needed for it."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from etl.published.window import Window
from etl.runs import ray_data
from etl.runs.buckets import Bucket
from etl.runs.ray_data import can_read, name_bucket, process_bucket, write_bucket
from etl.runs.work import Job, Processed
from etl.settings import EtlConfig
from foundation.errors import Busy
from otel_exporter.schema import EPISODE_ID
from tests.spans import Span, llm
from tests.unit.etl.published.dataset import put, trace
from tests.unit.etl.runs.test_source import tables


def job(data: Path, **settings: Any) -> Job:
    return Job(EtlConfig(data=data, complete_after=0, **settings), Window(5, 9), now_us=0, is_dry=True)


def done(data: Path, item: dict[str, Any]) -> Processed:
    row = process_bucket(job(data), item)
    assert row["error"] == b""
    return Processed.from_json(row["processed"])


@pytest.mark.parametrize(
    ("ray", "where", "is_read"),
    [
        ("local", "http://127.0.0.1:4318", True),
        ("ray://head:10001", "http://127.0.0.1:4318", False),
        ("ray://head:10001", "http://[::1]:4318", False),
        ("ray://head:10001", "http://receiver.internal:4318", True),
        ("ray://head:10001", None, True),
    ],
)
def test_tasks_read_data_where_they_can_reach_who_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray: str, where: str | None, *, is_read: bool
) -> None:
    """A receiver that answers its own machine alone is out of reach of others; without one the files are there."""
    monkeypatch.setattr(ray_data, "find", lambda _: None if where is None else {"http": where})

    assert can_read(job(tmp_path, ray=ray)) is is_read


def test_a_bucket_that_is_sent_as_files_is_read_from_them(tmp_path: Path) -> None:
    """DATA has nothing a task could read."""
    reader = tables(llm("a", trace="a", seq=7), llm("other", trace="b", seq=8))

    item = write_bucket(tmp_path, 3, Bucket({trace("a")}, 7, 7, num_spans=1), reader)

    found = done(tmp_path / "unreachable", item)
    assert item["number"] == 3
    assert [found.traces, found.num_rows["transitions"]] == [{trace("a")}, 1]


def test_what_a_bucket_turns_out_to_need_besides_is_read_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another trace of its episode was published before: the files do not have it."""
    old, new = (llm(name, trace=name, seq=seq, attributes={EPISODE_ID: "e1"}) for name, seq in (("a", 1), ("b", 7)))
    put(tmp_path, 1, old)
    item = write_bucket(tmp_path, 0, Bucket({trace("b")}, 7, 7, num_spans=1), tables(new))
    monkeypatch.setattr(ray_data, "open_receivers", lambda _: _Closing(old, new))

    found = done(tmp_path, item)

    assert found.traces == {trace("a"), trace("b")}
    assert found.num_rows["transitions"] == 2


def test_an_error_of_ours_comes_back_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its kind, by which the command ends, and its way out."""

    def refuse(_: Path) -> None:
        raise Busy("DATA is held", hint="Wait.")

    monkeypatch.setattr(ray_data, "open_receivers", refuse)

    row = process_bucket(job(tmp_path), name_bucket(2, Bucket({trace("a")})))

    error = pickle.loads(row["error"])
    assert isinstance(error, Busy)
    assert [row["number"], row["processed"], error.message, error.hint] == [2, b"", "DATA is held", "Wait."]


class _Closing:
    def __init__(self, *spans: Span) -> None:
        self._reader = tables(*spans)

    def query(self, *asked: Any) -> Any:
        return self._reader.query(*asked)

    def close(self) -> None:
        """Nothing is held."""
