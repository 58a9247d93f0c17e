"""The index says in which parts to look; whatever becomes of it, what is found stays the same."""

import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest

from etl.published import index
from etl.published.index import EPISODE, RESPONSE, TRACE, Hashes, Index, hashes, update
from etl.published.publish import publish, write_part
from etl.published.window import Window
from etl.schema import table_files
from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import identifier, llm, logs_frame, spans_frame


def publish_traces(data: Path, seq: int, *names: str) -> None:
    """Publish traces of one call each as a part of its own."""
    made = transform(
        spans_frame([llm(f"s{name}", trace=name, seq=seq) for name in names]),
        logs_frame(),
        EtlConfig(complete_after=0),
    )
    window = Window(seq, seq)
    publish(data, window, {trace(name) for name in names}, [write_part(data, window, made)], [], seq)


def trace(name: str) -> tuple[str, str]:
    """Return the key of a trace."""
    return "default", identifier(name, 32)


def found(data: Path, name: str) -> list[Path]:
    """Return the parts of episodes that may hold a trace."""
    return Index(data).files("episodes", TRACE, [trace(name)])


def test_only_the_part_that_holds_a_trace_is_named(tmp_path: Path) -> None:
    """Looked for by trace and by episode; what nobody published is nowhere."""
    publish_traces(tmp_path, 1, "1", "2")
    publish_traces(tmp_path, 2, "3")

    assert found(tmp_path, "1") == found(tmp_path, "2") == table_files(tmp_path, "episodes")[:1]
    assert Index(tmp_path).files("episodes", EPISODE, [trace("3")]) == table_files(tmp_path, "episodes")[1:]
    assert Index(tmp_path).files("llm_calls", RESPONSE, [("default", "never")]) == []
    assert found(tmp_path, "4") == []


def test_a_part_that_is_replaced_is_named_no_more(tmp_path: Path) -> None:
    """A later window computes one of its traces anew."""
    publish_traces(tmp_path, 1, "1", "2")
    publish_traces(tmp_path, 2, "1")

    assert found(tmp_path, "1") == table_files(tmp_path, "episodes")[1:]
    assert found(tmp_path, "2") == table_files(tmp_path, "episodes")[:1]


@pytest.mark.parametrize("harm", ["remove", "tear", "shorten", "another number", "another version"])
def test_without_an_index_everything_is_looked_at(tmp_path: Path, harm: str) -> None:
    """A lost or broken index costs time, never a row; it is made again."""
    publish_traces(tmp_path, 1, "1")
    publish_traces(tmp_path, 2, "2")
    head = tmp_path / "dataset" / "index" / "index.json"
    run = json.loads(head.read_text())["runs"][0]
    match harm:
        case "remove":
            head.unlink()
        case "tear":
            head.write_bytes(head.read_bytes()[:40])
        case "another number":
            head.write_text(head.read_text().replace('"next": ', '"next": 1'))
        case "another version":
            head.write_text(head.read_text().replace(index.MADE_BY, "polars 0.1"))
        case _:
            (head.parent / f"{run}.keys").write_bytes(b"")

    assert found(tmp_path, "1") == sorted(table_files(tmp_path, "episodes"))
    update(tmp_path)
    assert found(tmp_path, "1") == table_files(tmp_path, "episodes")[:1]


def test_runs_are_merged_a_range_at_a_time_and_forget_what_is_gone(tmp_path: Path) -> None:
    """There are few of them, and each trace stays where it is."""
    with patch.object(index, "AT_ONCE", 3):
        for number in range(1, 12):
            publish_traces(tmp_path, number, f"{number}", f"{number}b")
        publish_traces(tmp_path, 12, *(f"{number}b" for number in range(1, 12)))

    parts = table_files(tmp_path, "episodes")
    directory = tmp_path / "dataset" / "index"
    assert [found(tmp_path, f"{number}") for number in range(1, 12)] == [[part] for part in parts[:-1]]
    assert {tuple(found(tmp_path, f"{number}b")) for number in range(1, 12)} == {(parts[-1],)}
    runs = json.loads((directory / "index.json").read_text())["runs"]
    assert len(runs) < 6
    assert sorted(path.stem for path in directory.glob("*.keys")) == sorted(runs)
    for run in runs:
        keys = np.fromfile(directory / f"{run}.keys", dtype="<u8")
        assert (keys[1:] >= keys[:-1]).all()


def test_what_is_forgotten_leaves_no_hash(tmp_path: Path) -> None:
    """A hash of an id is a trace of it."""
    publish_traces(tmp_path, 1, "1", "2")
    publish_traces(tmp_path, 2, "3")

    publish(tmp_path, Window(2, 2), {trace("1"), trace("3")}, (), [], 2)

    files = (tmp_path / "dataset" / "index").glob("*.keys")
    left = np.concatenate([np.fromfile(path, dtype="<u8") for path in files])
    assert not np.isin(hashed("1", "3"), left).any()
    assert np.isin(hashed("2"), left).all()


def hashed(*names: str) -> Hashes:
    """Return the hashes of traces."""
    return hashes(TRACE, pl.DataFrame([trace(name) for name in names], schema=["project", "trace_id"], orient="row"))
