"""What others on this machine, and whoever reads the narration, get to see of what was sent: nothing."""

import json
import stat
from pathlib import Path

import pytest

from receiver.days.files import day_files
from tests.commands import spanloop
from tests.export_requests import span, traces
from tests.integration.receiver.processes import running

pytestmark = pytest.mark.integration

SECRET = "the-prompt-of-a-user"


@pytest.mark.long
def test_what_was_sent_is_its_users_alone_and_in_no_narration(tmp_path: Path) -> None:
    """Files are closed to others, a backup too; a clean end leaves the prompt in the day files and nowhere else."""
    data, out = tmp_path / "data", tmp_path / "out"
    with running(data) as receiver:
        receiver.export(traces(span(1, name=SECRET)).SerializeToString())
        damaged = traces(span(2, name=SECRET)).SerializeToString()[:-3]
        assert receiver.post("/v1/traces", damaged, Content_Type="application/x-protobuf")[0] == 400
        for sql in (
            f"select '{SECRET}'::int",
            f"select levenshtein('{SECRET}', name) as n from spans",
            f"selec {SECRET}",
        ):
            receiver.post("/v1/sql", json.dumps({"sql": sql}).encode())
        assert spanloop("receiver", "backup", "--data", str(data), "--out", str(out)).returncode == 0

    assert SECRET not in receiver.log.read_text()
    for path in (*data.rglob("*"), *out.rglob("*"), out):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    holding = {path for path in data.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()}
    assert holding <= set(day_files(data).values())
