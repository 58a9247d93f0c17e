"""What earlier releases left on disk opens in this one; what a later one left is refused by name, file by file."""

import json
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from etl.published.stored import committing, pull
from etl.runs.run import run_etl
from etl.schema import STORED, Split, table_files
from etl.settings import EtlConfig
from foundation.errors import SpanloopError
from foundation.report import RunReport
from foundation.state import encode_state
from foundation.store.opening import open_store
from foundation.store.pointer import read_pointer, write_pointer
from foundation.web import places
from foundation.web.keys import KeyRing, read_keys
from receiver.days import sequence
from receiver.days.files import day_files
from receiver.log.records import HEADER_MAGIC
from receiver.schema import connect
from serve.evidence.spool import Spool
from serve.schema import SCHEMA_VERSION, read_registry
from spanloop.nightly.night import Night, dataset_digest
from spanloop.nightly.settings import NightlyConfig
from spanloop.store.checkpoints import pull_checkpoint
from spanloop.store.holdings import pointers, verify
from tests.formats import FORMATS, STORES, UNLANDED, unpack
from train.data.reading import read_transitions
from train.schema import read_manifest
from train.stored import bring_tables

pytestmark = pytest.mark.integration

SHOWN = ("transitions", "llm_calls", "tool_calls", "episodes")

RELEASES = sorted(FORMATS.glob("*.tar.xz"))


@pytest.fixture(params=RELEASES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def left(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a directory that a release left, and what is to be found in it."""
    expected = unpack(request.param, tmp_path)
    return tmp_path / "data", expected


def test_what_a_release_left_opens(left: tuple[Path, dict[str, Any]]) -> None:
    """Spans, the request that was acknowledged and had not landed, tables, keys, registry, night, spool."""
    data, expected = left
    assert KeyRing(data).find(expected["key"]).project == "shop"
    found = read_registry(data)
    assert found is not None
    assert (Path(found.live).name, [Path(name).name for name in found.previous]) == (
        expected["live"],
        [expected["previous"]],
    )
    assert read_manifest(Path(found.live)).checkpoint_id == expected["live"]
    spool = Spool(data / "serve" / "spool", max_bytes=1 << 20, min_free_bytes=0)
    batch = spool.first()
    assert batch is not None
    assert (batch.body, batch.num_spans) == (b"request", 3)
    assert [path.name for path in table_files(data, "transitions")] == expected["transitions"]

    with closing(connect(data)) as reader:  # lands what had not landed
        unlanded = reader.query("select name from spans where span_id = ?", [f"{UNLANDED:016x}"]).num_rows
        counts = {table: reader.query(f"select count(*) as n from {table}").to_pylist()[0]["n"] for table in SHOWN}
    assert unlanded == 1
    assert counts["transitions"] > 0
    assert counts["llm_calls"] >= counts["transitions"]


def test_the_loop_goes_on_from_there(left: tuple[Path, dict[str, Any]]) -> None:
    """The ETL adds what arrived and takes nothing twice; the night knows what the last one learned from."""
    data, _ = left
    before = set(table_files(data, "transitions"))
    last = json.loads((data / "nightly" / "last.json").read_bytes())
    assert last["dataset"] == dataset_digest(data)
    assert Night.resume(NightlyConfig(data=data)).done == {}

    report = RunReport("etl run", {})
    run_etl(EtlConfig(data=data, complete_after=0), report, dry_run=False)

    assert report.as_dict()["spans"]["in"] == 1
    assert before <= set(table_files(data, "transitions"))


@pytest.mark.parametrize("release", sorted(STORES.glob("*.tar.xz")), ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_a_store_that_a_release_filled_opens(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its days are read, its tables and checkpoints come, all is whole, and the next commit goes on from it."""
    expected = unpack(release, tmp_path)
    url, data = f"file://{tmp_path}/store", tmp_path / "data"
    store = open_store(url)
    assert verify(store, deep=True) == []
    assert pull(data, store) > 0
    assert [path.name for path in table_files(data, "transitions")] == expected["transitions"]
    for name in expected["checkpoints"]:
        assert read_manifest(pull_checkpoint(data, store, name)).checkpoint_id == name

    monkeypatch.setenv(places.RECEIVER, url)
    with closing(connect(data)) as reader:
        assert reader.query("select count(*) as n from spans").to_pylist() == [{"n": expected["spans"]}]
    with committing(data, store, purpose="a test") as commit:
        run_etl(EtlConfig(data=tmp_path / "anew", complete_after=0), RunReport("etl run", {}), dry_run=False)
        assert commit.publish() == 0
    assert len(table_files(tmp_path / "anew", "transitions")) == len(expected["transitions"])


def test_tables_that_a_later_release_committed_to_a_store_are_refused(tmp_path: Path) -> None:
    """Before anything of this machine is touched, by the ETL and by training."""
    unpack(max(STORES.glob("*.tar.xz")), tmp_path)
    store, data = open_store(f"file://{tmp_path}/store"), tmp_path / "data"
    pointer = read_pointer(store, STORED)
    pointer.facts["watermark"]["schema_version"] = 99
    write_pointer(store, STORED, pointer)

    for take in (lambda: pull(data, store), lambda: bring_tables(store, pointer, data)):
        with pytest.raises(SpanloopError, match=r"dataset\.json has layout 99"):
            take()
    assert not data.exists()


@pytest.mark.parametrize("kind", ["dataset.json", "days", "checkpoints"])
def test_a_store_that_a_later_release_filled_is_refused_by_name(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of pointer, by those who read it."""
    (checkpoint,) = unpack(max(STORES.glob("*.tar.xz")), tmp_path)["checkpoints"]
    url, data = f"file://{tmp_path}/store", tmp_path / "data"
    store = open_store(url)
    (key,) = [key for key in pointers(store) if key.startswith(kind)]
    _newer_json("layout")(tmp_path / "store" / key)
    monkeypatch.setenv(places.RECEIVER, url)
    use: dict[str, Callable[[], object]] = {
        "dataset.json": lambda: pull(data, store),
        "days": lambda: _connect(data),
        "checkpoints": lambda: pull_checkpoint(data, store, checkpoint),
    }

    with pytest.raises(SpanloopError, match=re.escape(key)):
        use[kind]()


def _newer_json(key: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, key: 99}))

    return change


def _newer_state(path: Path) -> None:
    content = {
        name: value for name, value in json.loads(path.read_text()).items() if name not in ("schema_version", "sha256")
    }
    path.write_bytes(encode_state(content, version=SCHEMA_VERSION + 1))


def _newer_day(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("update schema_version set version = 99")


def _newer_segment(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[:8] = HEADER_MAGIC[:7] + b"9"
    content[512:] = bytes(len(content) - 512)
    path.write_bytes(content)


def _connect(data: Path) -> None:
    with closing(connect(data)) as reader:
        reader.query("select 1")


def _etl(data: Path) -> None:
    run_etl(EtlConfig(data=data), RunReport("etl run", {}), dry_run=True)


def _ask(data: Path) -> None:
    with closing(connect(data)) as reader:
        reader.query("select count(*) from transitions")


LATER: dict[str, tuple[Callable[[Path], Path], Callable[[Path], None], Callable[[Path], object]]] = {
    "a day": (lambda data: next(iter(day_files(data).values())), _newer_day, _connect),
    "a segment of the log": (lambda data: next((data / "wal").glob("*.seg")), _newer_segment, _connect),
    "sequence.json": (lambda data: data / "sequence.json", _newer_json("version"), sequence.read),
    "keys.json": (lambda data: data / "keys.json", _newer_json("version"), read_keys),
    "watermark.json": (lambda data: data / "dataset" / "watermark.json", _newer_json("schema_version"), _etl),
    "watermark.json, for training": (
        lambda data: data / "dataset" / "watermark.json",
        _newer_json("schema_version"),
        lambda data: read_transitions(data, Split.TRAIN),
    ),
    "tables.json": (lambda data: data / "dataset" / "tables.json", _newer_json("version"), _ask),
    "registry.json": (lambda data: data / "serve" / "registry.json", _newer_state, read_registry),
    "last.json": (
        lambda data: data / "nightly" / "last.json",
        _newer_state,
        lambda data: Night.resume(NightlyConfig(data=data)).has_nothing_new(),
    ),
    "manifest.json": (
        lambda data: next((data / "checkpoints").glob("*/manifest.json")),
        _newer_json("schema_version"),
        lambda data: read_manifest(next((data / "checkpoints").glob("*/manifest.json")).parent),
    ),
}


@pytest.mark.parametrize("name", LATER)
def test_what_a_later_release_left_is_refused_by_name(name: str, tmp_path: Path) -> None:
    """Believed, or tripped over, it would cost more than the refusal."""
    unpack(RELEASES[-1], tmp_path)
    data = tmp_path / "data"
    find, change, use = LATER[name]
    path = find(data)
    change(path)

    with pytest.raises(SpanloopError, match=re.escape(path.name)):
        use(data)
