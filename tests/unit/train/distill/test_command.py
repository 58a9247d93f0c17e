"""The command: a rehearsal writes nothing, and a student has to be named."""

import json
from pathlib import Path

import pytest

from foundation.errors import GateRefused, SettingsError
from tests.logged import publish
from tests.unit.train.distill.lessons import call
from train.distill.command import distill
from train.distill.settings import DistillConfig


def test_a_rehearsal_counts_and_ranks(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What would be taken, by reason what would not, and the candidates; no file more than before."""
    data = publish(tmp_path, [call(f"t{task}", "yes", outcome=float(task > 2)) for task in range(20)])
    before = sorted(data.rglob("*"))

    distill(config=DistillConfig(data=data, students=(model,), min_calls=4), dry_run=True, as_json=True)

    out = capsys.readouterr().out
    report = json.loads(out[out.index("{\n") :])
    assert (report["num_chosen"], report["left_out"]) == (17, {"not_good": 3})
    assert [each["is_able"] for each in report["students"]] == [True]
    assert sorted(data.rglob("*")) == before


def test_a_rehearsal_without_a_student_says_what_would_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is downloaded; and how to come by one."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    data = publish(tmp_path, [call(f"t{task}", "yes", outcome=float(task > 2)) for task in range(20)])

    distill(config=DistillConfig(data=data, min_calls=4), dry_run=True, as_json=True)

    out, err = capsys.readouterr()
    report = json.loads(out[out.index("{\n") :])
    assert (report["num_chosen"], report["students"]) == (17, [])
    assert "hf download" in out + err


def test_a_student_has_to_be_named(tmp_path: Path) -> None:
    """The way to find one too."""
    with pytest.raises(SettingsError, match="no student is named") as refusal:
        distill(config=DistillConfig(data=tmp_path))
    assert "--dry-run" in str(refusal.value.hint)


def test_a_night_waits_where_there_is_too_little(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 0, no checkpoint, and why; asked by hand it is a refusal. Outcomes that are all alike are said to be."""
    data = publish(tmp_path, [call(f"t{task}", "yes") for task in range(5)])
    config = DistillConfig(data=data, model=model, wait=True)

    distill(config=config, as_json=True)

    out, err = capsys.readouterr()
    report = json.loads(out[out.index("{\n") :])
    assert report["checkpoint"] is None
    assert "all outcomes are alike" in out + err
    assert "64 at least" in report["waiting"]
    with pytest.raises(GateRefused, match="64 at least"):
        distill(config=config.model_copy(update={"wait": False}))
