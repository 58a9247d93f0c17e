"""The doctor as a command: it looks at everything, prints what it found, and its end says whether spans can come."""

import json
from pathlib import Path

import pytest

from foundation.errors import SpanloopError
from serve.schema import registry_path
from spanloop.doctor import run
from spanloop.doctor.finding import Finding
from spanloop.doctor.run import DoctorConfig, doctor


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """Return what the checks of this machine will find: the test fills it."""
    found: list[Finding] = []
    monkeypatch.setattr(run, "check_machine", lambda _: iter(found))
    monkeypatch.setattr(run, "check_serving", lambda _: iter(()))
    monkeypatch.setattr(run, "check_surroundings", lambda _: iter(()))
    return found


def test_what_keeps_a_check_from_looking_is_its_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are looked at all the same, and the end says which failed."""
    monkeypatch.setattr(run, "check_machine", lambda _: iter([Finding("clock", "ok", "right")]))
    registry_path(tmp_path).parent.mkdir(parents=True)
    registry_path(tmp_path).write_text("{")

    with pytest.raises(SpanloopError, match="1 checks failed: serving"):
        doctor(config=DoctorConfig(data=tmp_path), as_json=True)

    findings = json.loads(capsys.readouterr().out)["findings"]
    serving = next(one for one in findings if one["check"] == "serving")
    assert {"clock", "traces"} <= {one["check"] for one in findings}
    assert (serving["verdict"], bool(serving["remedy"])) == ("fail", True)


def test_warnings_alone_are_no_failure(tmp_path: Path, only: list[Finding], capsys: pytest.CaptureFixture[str]) -> None:
    """Each stands with its remedy below it."""
    only.append(Finding("gpu", "warn", "there is no GPU", "Train elsewhere."))

    doctor(config=DoctorConfig(data=tmp_path))

    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == ["warn there is no GPU", "Train elsewhere."]


@pytest.mark.parametrize("said", ["KeyError: '[/a]'", "service [red]agent[/red]", "[bold]"])
def test_what_others_said_is_shown_as_they_said_it(
    tmp_path: Path, only: list[Finding], capsys: pytest.CaptureFixture[str], said: str
) -> None:
    """Names of services and an agent's last line are anything: brackets are no markup of ours."""
    only.append(Finding("agent", "warn", said, f"Run it: {said}"))

    doctor(config=DoctorConfig(data=tmp_path))

    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == [f"warn {said}", f"Run it: {said}"]
