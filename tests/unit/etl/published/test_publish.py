"""Publishing replaces whole episodes, by one rename, and the same again is the same bytes."""

import json
from pathlib import Path

import polars as pl
import pytest

from etl.exports.export import read_table
from etl.published.publish import publish as publish_parts
from etl.published.publish import sweep, write_part
from etl.published.window import Window
from etl.schema import TABLES, dataset_directory, read_watermark, table_files, watermark_path
from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from foundation.errors import SpanloopError
from tests import logged
from tests.spans import Span, identifier, llm, logs_frame, spans_frame


def dataset(*spans: Span) -> Dataset:
    """Return what the ETL makes of spans."""
    return transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0))


def publish(data: Path, window: Window, traces: set[tuple[str, str]], made: Dataset, received_seq: int) -> None:
    """Write and publish a dataset as one part."""
    publish_parts(data, window, traces, [write_part(data, window, made)], made.pending, received_seq)


def trace(name: str) -> tuple[str, str]:
    """Return the key of a trace."""
    return "default", identifier(name, 32)


def content(data: Path) -> dict[str, bytes]:
    """Return every file of the dataset by its path."""
    return {str(path.relative_to(data)): path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file()}


def test_the_same_window_twice_is_the_same_bytes(tmp_path: Path) -> None:
    """Idempotent down to the file."""
    made = dataset(llm("a", trace="1"))
    publish(tmp_path, Window(1, 5), {trace("1")}, made, 5)
    before = content(tmp_path)

    publish(tmp_path, Window(1, 5), {trace("1")}, made, 5)

    assert content(tmp_path) == before


def test_a_late_span_replaces_its_episode_in_an_earlier_part(tmp_path: Path) -> None:
    """A reader sees each episode once, in its latest revision; the untouched one stays."""
    publish(tmp_path, Window(1, 5), {trace("1"), trace("2")}, dataset(llm("a", trace="1"), llm("b", trace="2")), 5)
    late = dataset(llm("a", trace="1"), llm("c", trace="1", start=3, seq=7))

    publish(tmp_path, Window(6, 7), {trace("1")}, late, 7)

    episodes = pl.read_parquet(table_files(tmp_path, "episodes"))
    assert dict(episodes.select("episode_id", "num_transitions").iter_rows()) == {
        identifier("1", 32): 2,
        identifier("2", 32): 1,
    }
    assert len(table_files(tmp_path, "episodes")) == 2


def test_a_glob_finds_exactly_the_published_files(tmp_path: Path) -> None:
    """Replaced parts are gone once the watermark is there, so SQL over the directory sees the same as `table_files`."""
    publish(tmp_path, Window(1, 5), {trace("1")}, dataset(llm("a", trace="1")), 5)
    publish(tmp_path, Window(6, 7), {trace("1")}, dataset(llm("a", trace="1", seq=7)), 7)

    for table in TABLES:
        assert sorted(dataset_directory(tmp_path, table).glob("*.parquet")) == sorted(table_files(tmp_path, table))


def test_what_a_dead_run_left_is_not_published_and_swept(tmp_path: Path) -> None:
    """A part that no watermark names does not count."""
    publish(tmp_path, Window(1, 5), {trace("1")}, dataset(llm("a", trace="1")), 5)
    left = dataset_directory(tmp_path, "episodes") / "part-000000000006-000000000007-0123456789ab.parquet"
    left.write_bytes(b"half")

    assert left not in table_files(tmp_path, "episodes")
    sweep(tmp_path)
    assert not left.exists()


def test_dying_before_the_watermark_leaves_the_last_published_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever parts were written, readers see the old ones whole; the next run publishes."""
    publish(tmp_path, Window(1, 5), {trace("1")}, dataset(llm("a", trace="1")), 5)
    before = {table: [path.read_bytes() for path in table_files(tmp_path, table)] for table in TABLES}
    late = dataset(llm("a", trace="1"), llm("c", trace="1", start=3, seq=7))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("etl.published.publish.write_json", die)
        with pytest.raises(KeyboardInterrupt):
            publish(tmp_path, Window(6, 7), {trace("1")}, late, 7)

    assert {table: [path.read_bytes() for path in table_files(tmp_path, table)] for table in TABLES} == before
    publish(tmp_path, Window(6, 7), {trace("1")}, late, 7)
    assert pl.read_parquet(table_files(tmp_path, "transitions")).height == 2


def test_another_layout_is_refused(tmp_path: Path) -> None:
    """Data of another version is not mixed in."""
    publish(tmp_path, Window(1, 5), {trace("1")}, dataset(llm("a", trace="1")), 5)
    path = tmp_path / "dataset" / "watermark.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))

    with pytest.raises(SpanloopError, match="layout 99"):
        publish(tmp_path, Window(6, 7), {trace("1")}, dataset(llm("a", trace="1")), 7)


def test_nothing_is_published_before_the_first_run(tmp_path: Path) -> None:
    """No watermark, no files."""
    assert read_watermark(tmp_path) is None
    assert table_files(tmp_path, "transitions") == []


def test_files_of_before_a_column_was_added_are_read_with_the_others(tmp_path: Path) -> None:
    """It is null in their rows."""
    data = logged.publish(tmp_path, [logged.transition(episode_id="new", user_id="ada")])
    directory = dataset_directory(data, "transitions")
    logged.frame([logged.transition(episode_id="old")]).drop("user_id").write_parquet(directory / "part-before.parquet")
    watermark = json.loads(watermark_path(data).read_bytes())
    watermark["windows"][0]["files"]["transitions"].insert(0, "part-before.parquet")
    watermark_path(data).write_text(json.dumps(watermark))

    rows = read_table(data, "transitions")

    assert rows.select("episode_id", "user_id").rows() == [("new", "ada"), ("old", None)]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 1}', "\x00" * 50])
def test_a_damaged_watermark_is_refused_by_name(tmp_path: Path, content: str) -> None:
    """Nobody takes it for a dataset without windows, and would publish all of it twice."""
    watermark_path(tmp_path).parent.mkdir(parents=True)
    watermark_path(tmp_path).write_text(content)

    with pytest.raises(SpanloopError, match=r"watermark\.json is damaged"):
        read_watermark(tmp_path)


def test_a_watermark_with_one_digit_changed_is_refused_by_name(tmp_path: Path) -> None:
    """It would name other files, and the rest be removed as left over, or pass over spans."""
    publish(tmp_path, Window(1, 5), {trace("1")}, dataset(llm("a", trace="1")), 5)
    path = watermark_path(tmp_path)
    whole = path.read_text()
    path.write_text(whole.replace('"received_seq": 5', '"received_seq": 7'))

    with pytest.raises(SpanloopError, match=r"watermark\.json is damaged"):
        read_watermark(tmp_path)
    path.write_text(whole)
    assert table_files(tmp_path, "transitions")
