"""What the doctor finds on the machine, and that each finding names what mends it."""

import json
import socket
import time
from pathlib import Path

import pytest

from foundation.web.keys import Scope, create_key
from serve.schema import ServerInfo, encode_file, server_path
from spanloop.doctor import machine
from spanloop.doctor.machine import check_clock, check_free_space, check_keys, check_machine, check_port, ports_of_ours
from tests.unit.spanloop.doctor.stored import about


def test_a_key_without_the_exporters_variable_is_named_with_it(tmp_path: Path) -> None:
    """No keys, nothing to say; with keys the variable must be set where exporters start."""
    assert list(check_keys(tmp_path, {})) == []
    create_key(tmp_path, name="agents", project="p", scopes=[Scope.INGEST])

    (missing,) = check_keys(tmp_path, {})
    (there,) = check_keys(tmp_path, {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer secret"})

    assert missing.verdict == "warn"
    assert 'OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer ' in (missing.remedy or "")
    assert there.verdict == "ok"
    assert "secret" not in f"{missing}{there}"


@pytest.mark.parametrize(("free_gib", "verdict"), [(0.5, "fail"), (2, "ok")])
def test_little_free_space_names_the_flags_that_free_some(free_gib: float, verdict: str) -> None:
    """The receiver would soon refuse requests."""
    finding = check_free_space(int(free_gib * 2**30), Path("data"))

    assert finding.verdict == verdict
    assert (verdict == "ok") == (finding.remedy is None)
    if finding.remedy:
        assert "--retain-days" in finding.remedy


def test_a_clock_before_this_release_is_wrong() -> None:
    """Spans would be filed under a day that is long over."""
    assert check_clock(0.0).verdict == "fail"
    assert check_clock(time.time()).verdict == "ok"


def test_a_directory_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, where a traceback stood."""

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)

    finding = about(check_machine(tmp_path), "writing")

    assert finding.verdict == "fail"
    assert "Permission denied" in finding.message


def test_what_is_not_there_yet_is_measured_where_it_would_be(tmp_path: Path) -> None:
    """And looking makes no directory."""
    findings = list(check_machine(tmp_path / "not" / "yet"))

    assert about(findings, "fdatasync").verdict in {"ok", "warn"}
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_somebody_holds_is_a_warning_unless_it_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free, a stranger's, and that of a gateway on the very directory."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        monkeypatch.setitem(machine.USUAL_HOLDERS, port, "a stranger")
        free = check_port(port, tmp_path)
        held.listen()
        strange = check_port(port, tmp_path)
        describe_gateway(tmp_path, f"http://127.0.0.1:{port}")
        own = check_port(port, tmp_path)

    assert [free.verdict, strange.verdict, own.verdict] == ["ok", "warn", "ok"]
    assert "a stranger" in strange.message


def test_a_damaged_description_of_a_server_names_no_port(tmp_path: Path) -> None:
    """The ports are told all the same; what is damaged is told where serving is looked at."""
    server_path(tmp_path).parent.mkdir(parents=True)
    server_path(tmp_path).write_text(json.dumps({"url": 7}))

    assert ports_of_ours(tmp_path) == set()


def describe_gateway(data: Path, url: str) -> None:
    info = ServerInfo(
        pid=1, url=url, control_url=url, control_token="t", engine="embedded", base="b", started_time=""
    )  # fmt: skip
    server_path(data).parent.mkdir(parents=True)
    server_path(data).write_bytes(encode_file(info))
