"""Files of recorded requests: what each is read as, and what is none."""

import gzip
import json
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from foundation.errors import SettingsError, SpanloopError
from receiver.decode.otlp import Signal
from receiver.intake.importing import import_files, read_file
from tests.export_requests import logs, span, traces


def test_a_file_says_by_name_or_content_what_it_holds(tmp_path: Path) -> None:
    """Protobuf does not say: `.logs.pb` are logs, any other name is what makes sense."""
    (tmp_path / "a.pb").write_bytes(traces(span(1)).SerializeToString())
    (tmp_path / "b.logs.pb").write_bytes(logs("x").SerializeToString())
    (tmp_path / "c.bin").write_bytes(logs("x").SerializeToString())

    read = {path.name: [request.signal for request in read_file(path)] for path in sorted(tmp_path.iterdir())}

    assert read == {"a.pb": [Signal.TRACES], "b.logs.pb": [Signal.LOGS], "c.bin": [Signal.LOGS]}


def test_json_is_a_document_or_one_a_line(tmp_path: Path) -> None:
    """Requests of both kinds may stand in one file."""
    one = json.dumps(MessageToDict(traces(span(1))))
    other = json.dumps(MessageToDict(logs("x")))
    (tmp_path / "one.json").write_text(one)
    (tmp_path / "lines.jsonl").write_text(f"{one}\n\n{other}\n")

    assert [request.signal for request in read_file(tmp_path / "one.json")] == [Signal.TRACES]
    assert [request.signal for request in read_file(tmp_path / "lines.jsonl")] == [Signal.TRACES, Signal.LOGS]


def test_what_holds_no_request_is_said_before_anything_is_stored(tmp_path: Path) -> None:
    """A good file beside it is not taken either: the command is run again once it is mended."""
    (tmp_path / "good.pb").write_bytes(traces(span(1)).SerializeToString())
    (tmp_path / "zip.pb").write_bytes(gzip.compress(b"x"))
    (tmp_path / "other.json").write_text('{"spans": []}')

    for name in ("zip.pb", "other.json"):
        with pytest.raises(SpanloopError, match=name):
            import_files(tmp_path / "data", [tmp_path / "good.pb", tmp_path / name])
    with pytest.raises(SettingsError, match="cannot be read"):
        read_file(tmp_path / "typo.pb")
    assert not (tmp_path / "data").exists()


def test_importing_twice_changes_nothing(tmp_path: Path) -> None:
    """By the rules of a client's resend; what was not taken is counted."""
    (tmp_path / "a.pb").write_bytes(traces(span(1), span(2, trace_id=b"short")).SerializeToString())

    counts = [import_files(tmp_path / "data", [tmp_path / "a.pb"]) for _ in range(2)]

    assert counts[0] == counts[1] == {"files": 1, "spans": 1, "rejected_spans": 1}
