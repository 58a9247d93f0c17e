"""What a release leaves on disk, kept so that later ones can show that they open it.

`python -m tests.formats` writes tests/fixtures/formats/VERSION.tar.xz of this release: a DATA directory as a receiver
that was killed left it, with one request acknowledged that had not landed; and stores/VERSION.tar.xz: a store to which
such a directory was pushed. It is run once a release, before its number changes, and its files are never written again.
"""

import io
import json
import shutil
import sys
import tarfile
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from etl.published.stored import committing
from etl.runs.run import run_etl
from etl.schema import table_files
from etl.settings import EtlConfig
from foundation.errors import ExitStatus
from foundation.report import RunReport
from foundation.store.opening import open_store
from foundation.web.keys import Scope, create_key
from receiver.decode.otlp import Signal
from receiver.intake.entry import Intake, finish
from receiver.intake.importing import import_files
from receiver.pipeline import Pipeline
from receiver.reading.archive import push_days
from receiver.schema import connect
from serve.change import registry
from serve.evidence.spool import Batch, Spool
from spanloop.nightly.night import Night
from spanloop.nightly.settings import NightlyConfig
from spanloop.store.checkpoints import push_checkpoints, push_reports
from tests import nights
from tests.export_requests import span, traces

FIXTURES = Path(__file__).parent / "fixtures"
FORMATS = FIXTURES / "formats"
STORES = FORMATS / "stores"
RECORDED = FIXTURES / "otlp" / "openinference-openai-agents"

UNLANDED = 7
"""Number of the span that was acknowledged and had not landed."""


def make(place: Path) -> dict[str, Any]:
    """Write a DATA directory of this release; return what is to be found in it."""
    data = place / "data"
    key = create_key(data, name="agents", project="shop", scopes=[Scope.INGEST])
    import_files(data, sorted(RECORDED.glob("*.pb")))
    run_etl(EtlConfig(data=data, complete_after=0), RunReport("etl run", {}), dry_run=False)
    (data / "checkpoints").mkdir()
    nights.serve(data, data / "checkpoints" / "first")
    made = nights.train(data / "checkpoints", data / "checkpoints" / "first")["checkpoint"]
    (Path(made) / "config.json").write_text("{}")
    registry.promote(data, Path(made))
    night = Night.resume(NightlyConfig(data=data))
    night.finish("etl", {})
    night.finish("train", {"checkpoint": made})
    night.close(ExitStatus.DONE)
    Spool(data / "serve" / "spool", max_bytes=1 << 20, min_free_bytes=0).put(Batch(b"request", 3))
    return {
        "key": key,
        "live": Path(made).name,
        "previous": "first",
        "transitions": sorted(path.name for path in table_files(data, "transitions")),
    }


def leave_unlanded(data: Path, into: Path) -> None:
    """Acknowledge one more request and copy DATA as it is then, as if the receiver were killed."""
    pipeline = Pipeline(data, land_every_s=60.0)
    try:
        body = traces(span(UNLANDED)).SerializeToString()
        _, future = Intake(pipeline, None).begin(Signal.TRACES, body)
        assert future is not None
        finish(future)
        shutil.copytree(data, into)
    finally:
        pipeline.close()


def push(place: Path, data: Path) -> dict[str, Any]:
    """Write a store of this release, with all that DATA holds; return what is to be found in it."""
    store = open_store(f"file://{place}/store")
    later = datetime.now(UTC).date() + timedelta(days=3)
    with closing(Pipeline(data, purpose="tests")) as pipeline:
        pipeline.store.seal(later)
    push_days(data, store, today=later)
    with committing(data, store, purpose="tests") as commit:
        commit.publish()
    checkpoints = push_checkpoints(data, store)
    push_reports(data, store)
    with closing(connect(data)) as reader:
        spans = reader.query("select count(*) as n from spans").to_pylist()[0]["n"]
    transitions = [path.name for path in table_files(data, "transitions")]
    return {"checkpoints": checkpoints, "spans": spans, "transitions": transitions}


def pack(directory: Path, name: str, expected: dict[str, Any], path: Path) -> None:
    """Write the archive of a directory under a name."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
        return member

    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:xz") as archive:
        archive.add(directory, name, filter=plain)
        content = (json.dumps(expected, indent=2) + "\n").encode()
        member = tarfile.TarInfo("expected.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def unpack(path: Path, place: Path) -> dict[str, Any]:
    """Lay an archive out below a directory; return what is to be found in it."""
    with tarfile.open(path) as archive:
        archive.extractall(place, filter="data")
    expected: dict[str, Any] = json.loads((place / "expected.json").read_text())
    return expected


def main() -> None:
    """Write this release's files, each once."""
    name = f"{version('spanloop')}.tar.xz"
    left = [path for path in (FORMATS / name, STORES / name) if "--again" in sys.argv or not path.exists()]
    if not left:
        raise SystemExit(f"{name} is there: what a release left is not written again")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        expected = make(place)
        leave_unlanded(place / "data", place / "killed")
        if FORMATS / name in left:
            pack(place / "killed", "data", expected, FORMATS / name)
        if STORES / name in left:
            expected = push(place, place / "data")
            pack(place / "store", "store", expected, STORES / name)
    for path in left:
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
