"""What a release leaves on disk, kept so that later ones can show that they open it.

`python -m tests.formats` writes tests/fixtures/formats/VERSION.tar.xz of this release: a DATA directory as a receiver
that was killed left it, with one request acknowledged that had not landed. It is run once a release, before its number
changes, and its file is never written again.
"""

import io
import json
import shutil
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from etl.runs.run import run_etl
from etl.schema import table_files
from etl.settings import EtlConfig
from foundation.errors import ExitStatus
from foundation.report import RunReport
from foundation.web.keys import Scope, create_key
from receiver.decode.otlp import Signal
from receiver.intake.entry import Intake, finish
from receiver.intake.importing import import_files
from receiver.pipeline import Pipeline
from serve.change import registry
from serve.evidence.spool import Batch, Spool
from spanloop.nightly.night import Night
from spanloop.nightly.settings import NightlyConfig
from tests import nights
from tests.export_requests import span, traces

FIXTURES = Path(__file__).parent / "fixtures"
FORMATS = FIXTURES / "formats"
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


def pack(directory: Path, expected: dict[str, Any], path: Path) -> None:
    """Write the archive."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
        return member

    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:xz") as archive:
        archive.add(directory, "data", filter=plain)
        content = (json.dumps(expected, indent=2) + "\n").encode()
        member = tarfile.TarInfo("expected.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def unpack(path: Path, place: Path) -> dict[str, Any]:
    """Lay an archive out below a directory; return what is to be found in `place/data`."""
    with tarfile.open(path) as archive:
        archive.extractall(place, filter="data")
    expected: dict[str, Any] = json.loads((place / "expected.json").read_text())
    return expected


def main() -> None:
    """Write this release's file, once."""
    path = FORMATS / f"{version('spanloop')}.tar.xz"
    if path.exists() and "--again" not in sys.argv:
        raise SystemExit(f"{path} is there: what a release left is not written again")
    with tempfile.TemporaryDirectory() as place:
        expected = make(Path(place))
        leave_unlanded(Path(place) / "data", Path(place) / "killed")
        pack(Path(place) / "killed", expected, path)
    sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
