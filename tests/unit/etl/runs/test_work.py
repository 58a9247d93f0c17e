"""One bucket's work, given what reads spans."""

import gc
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from etl.published.window import Window
from etl.runs.buckets import Bucket
from etl.runs.work import Job, Processed, Worker, no_cycle_collection
from etl.schema import dataset_directory
from etl.settings import EtlConfig
from otel_exporter.schema import EPISODE_ID
from tests.spans import Span, llm, logs_frame, spans_frame
from tests.unit.etl.published.dataset import put, trace


class Store:
    """Spans by trace; notes what was asked for."""

    def __init__(self, *spans: Span) -> None:
        self.spans = spans
        self.asked: list[tuple[set[tuple[str, str]], tuple[int, int] | None]] = []

    def read(self, traces: Any, received: tuple[int, int] | None) -> tuple[pl.DataFrame, pl.DataFrame]:
        self.asked.append((set(traces), received))
        return spans_frame([row for row in self.spans if (row["project"], row["trace_id"]) in traces]), logs_frame()


def process(data: Path, store: Store, bucket: Bucket, *, is_dry: bool = False) -> Processed:
    config = EtlConfig(data=data, complete_after=0)
    return Worker(Job(config, Window(5, 9), now_us=0, is_dry=is_dry), store.read).process(bucket)


def of_episode(name: str, seq: int) -> Span:
    return llm(name, trace=name, seq=seq, attributes={EPISODE_ID: "e1"})


def test_a_bucket_is_written_and_counted(tmp_path: Path) -> None:
    """Read from the one stretch of the store it is in."""
    store = Store(llm("a", trace="a", seq=7))

    done = process(tmp_path, store, Bucket({trace("a")}, 7, 7, num_spans=1))

    assert store.asked == [({trace("a")}, (7, 7))]
    assert done.num_rows["transitions"] == 1
    (name,) = done.parts["transitions"]
    assert (dataset_directory(tmp_path, "transitions") / name).exists()


def test_a_dry_run_counts_the_same_and_writes_nothing(tmp_path: Path) -> None:
    """Nor does a bucket that comes to nothing."""
    store = Store(llm("a", trace="a", seq=7))

    dry = process(tmp_path, store, Bucket({trace("a")}, 7, 7, num_spans=1), is_dry=True)
    nothing = process(tmp_path, store, Bucket({trace("gone")}))

    assert [dry.num_rows["transitions"], dry.parts, nothing.parts] == [1, {}, {}]
    assert list(tmp_path.rglob("*.parquet")) == []


def test_a_published_trace_of_the_same_episode_is_read_as_well(tmp_path: Path) -> None:
    """From wherever it is in the store; what comes of both takes the place of what is published."""
    old = of_episode("a", 1)
    put(tmp_path, 1, old)
    store = Store(old, of_episode("b", 7))

    done = process(tmp_path, store, Bucket({trace("b")}, 7, 7, num_spans=1), is_dry=True)

    assert store.asked == [({trace("b")}, (7, 7)), ({trace("a"), trace("b")}, None)]
    assert done.traces == {trace("a"), trace("b")}
    assert [done.num_rows["episodes"], done.num_rows["transitions"]] == [1, 2]


def test_what_was_published_of_spans_that_are_gone_is_kept(tmp_path: Path) -> None:
    """Retention has taken them since; a late span does not make another episode of the rest."""
    put(tmp_path, 1, llm("a", trace="a", seq=1))
    store = Store(llm("late", trace="a", seq=7, start=9, said="and more"))

    done = process(tmp_path, store, Bucket({trace("a")}, 7, 7, num_spans=1), is_dry=True)

    assert [done.num_rows["episodes"], done.num_rows["transitions"]] == [1, 1]


def test_what_came_of_a_bucket_travels_as_json() -> None:
    """Traces are pairs again at the other end."""
    done = Processed({("p", "b"), ("p", "a")}, {"spans": {"in": 3}}, {"episodes": 1}, {"episodes": ["x"]}, [("p", "c")])

    assert Processed.from_json(done.to_json()) == done


def test_cycles_are_searched_for_again_after_an_error() -> None:
    """Else the process would grow for ever."""

    def fail() -> None:
        with no_cycle_collection():
            assert not gc.isenabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert gc.isenabled()
