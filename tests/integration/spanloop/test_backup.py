"""A drill: everything is backed up, the original is gone, and the loop goes on from the copy, which lies elsewhere."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from etl.schema import table_files
from foundation.files import exclusive
from foundation.web.keys import KeyRing
from receiver.intake.importing import import_files
from receiver.schema import connect
from serve.change import registry
from spanloop.nightly.night import dataset_digest
from tests import formats
from tests.commands import spanloop
from tests.export_requests import span, traces

pytestmark = pytest.mark.integration


def count(data: Path, table: str) -> int:
    with closing(connect(data)) as reader:
        return int(reader.query(f"select count(*) as n from {table}").to_pylist()[0]["n"])


def test_the_loop_goes_on_from_a_backup(tmp_path: Path) -> None:
    """Spans, keys, tables, registry with its checkpoints, nights; and new spans are read, none of them twice."""
    expected = formats.make(tmp_path)
    data, out = tmp_path / "data", tmp_path / "backup"
    for name in ("replays/one.json", "serve/server.json", "serve/engine.log"):
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_text("{}")
    before = {table: count(data, table) for table in ("spans", "transitions", "llm_calls")}
    digest = dataset_digest(data)

    done = spanloop("backup", "--data", str(data), "--out", str(out), "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["left_out"] == []
    shutil.rmtree(data)
    restored = out.rename(tmp_path / "elsewhere")
    assert spanloop("receiver", "verify", "--data", str(restored)).returncode == 0
    assert (restored / "replays" / "one.json").exists(), "whatever there is"
    assert [path.name for path in (restored / "serve").iterdir() if path.name in ("server.json", "engine.log")] == []
    assert {table: count(restored, table) for table in before} == before
    assert dataset_digest(restored) == digest
    assert json.loads((restored / "nightly" / "last.json").read_bytes())["dataset"] == digest
    assert KeyRing(restored).find(expected["key"]).project == "shop"
    live = registry.live_directory(registry.require(restored))
    assert live == restored / "checkpoints" / expected["live"]
    assert Path(registry.rollback(restored).live).name == expected["previous"]

    new = tmp_path / "new.pb"
    new.write_bytes(traces(span(formats.UNLANDED)).SerializeToString())
    import_files(restored, [new])
    ran = spanloop("etl", "run", "--data", str(restored), "--complete-after", "0", "--json")
    assert json.loads(ran.stdout)["spans"]["in"] == 1
    assert len(table_files(restored, "transitions")) >= len(expected["transitions"])


def test_what_cannot_be_backed_up_now_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """An ETL that publishes is waited for by whoever runs it again; a directory that is there is not written over."""
    (tmp_path / "data" / "dataset").mkdir(parents=True)
    out = tmp_path / "backup"
    with exclusive(tmp_path / "data" / "dataset" / "lock", purpose="spanloop etl run"):
        busy = spanloop("backup", "--data", str(tmp_path / "data"), "--out", str(out))
    assert (busy.returncode, "spanloop etl run" in busy.stderr) == (75, True)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    out.mkdir()
    there = spanloop("backup", "--data", str(tmp_path / "data"), "--out", str(out))
    assert (there.returncode, "is there already" in there.stderr) == (2, True)
