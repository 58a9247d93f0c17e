"""A night's steps in order, where it ends, and what it leaves behind, with stages that do their work at once."""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import ExitStatus, SettingsError
from spanloop.nightly.run import nightly
from spanloop.nightly.settings import NightlyConfig
from spanloop.processes import StageFailed, stages_run_by
from tests import nights


class Stages:
    """Runs stages of cardboard in this process; one may fail."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.asked: list[list[str]] = []
        self.fails: tuple[str, ExitStatus] | None = None

    @property
    def names(self) -> list[str]:
        return [" ".join(arguments[:2]) for arguments in self.asked]

    def run(self, arguments: Sequence[str]) -> dict[str, Any]:
        self.asked.append(list(arguments))
        name, given = " ".join(arguments[:2]), dict(itertools.pairwise(arguments))
        if self.fails is not None and self.fails[0] == name:
            raise StageFailed(arguments, self.fails[1], ["it is worse"])
        if "--dry-run" in arguments:
            return {"would": name}
        match name:
            case "etl run":
                return nights.etl(self.data)
            case "train run":
                return nights.train(Path(given["--out"]), Path(given["--model"]))
            case "train evaluate":
                return {"gate": {"verdict": "passed", "passed": True}}
        return {"live": arguments[4]}


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[Stages]:
    data = tmp_path / "data"
    nights.serve(data, tmp_path / "base")
    nights.arrive(data, "spans")
    made = Stages(data)
    with stages_run_by(made.run):
        yield made


def report_of(data: Path) -> dict[str, Any]:
    """Return the one report that a night left."""
    (path,) = (data / "nightly" / "runs").glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_night_goes_through_every_step_and_the_next_finds_nothing(stages: Stages) -> None:
    """What was learned from is not learned from again."""
    nightly(config=NightlyConfig(data=stages.data))
    first = report_of(stages.data)

    nightly(config=NightlyConfig(data=stages.data))

    assert stages.names == [*nights.STAGES, "etl run"]
    assert (first["status"], [phase["name"] for phase in first["phases"]]) == (
        "done", ["etl", "train", "evaluate", "promote"]
    )  # fmt: skip
    assert not (stages.data / "nightly" / "night.json").exists()


def test_a_refused_night_is_over(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is promoted, the status is the stage's, and what it said is in the report."""
    stages.fails = ("train evaluate", ExitStatus.REFUSED)

    with pytest.raises(StageFailed) as refused:
        nightly(config=NightlyConfig(data=stages.data), as_json=True)

    printed = capsys.readouterr().out
    assert (refused.value.exit_status, report_of(stages.data)["status"]) == (ExitStatus.REFUSED, "refused")
    assert json.loads(printed[printed.index("{\n") :])["error"]["said"] == "it is worse"
    assert "serve promote" not in stages.names
    assert not (stages.data / "nightly" / "night.json").exists()


def test_a_night_that_failed_goes_on_at_the_step_it_failed_in(stages: Stages) -> None:
    """The steps before are not run again."""
    stages.fails = ("train evaluate", ExitStatus.FAILED)
    with pytest.raises(StageFailed):
        nightly(config=NightlyConfig(data=stages.data))
    assert (stages.data / "nightly" / "night.json").exists()
    stages.fails, stages.asked = None, []

    nightly(config=NightlyConfig(data=stages.data))

    assert stages.names == ["train evaluate", "serve promote"]


def test_a_rehearsal_writes_nothing(stages: Stages) -> None:
    """Each stage is told to rehearse."""
    nightly(config=NightlyConfig(data=stages.data), dry_run=True)

    assert stages.names == ["etl run", "train run"]
    assert all("--dry-run" in arguments for arguments in stages.asked)
    assert not list((stages.data / "nightly").glob("*.json"))


def test_where_nothing_is_served_no_hours_are_spent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said before any stage runs, in the report too."""
    stages = Stages(tmp_path)
    with stages_run_by(stages.run), pytest.raises(SettingsError, match="nothing is served"):
        nightly(config=NightlyConfig(data=tmp_path), as_json=True)

    assert (stages.asked, json.loads(capsys.readouterr().out)["status"]) == ([], "settings")


@pytest.mark.parametrize("beside", [{"model": "m"}, {"watch": True}])
def test_a_student_has_nights_of_its_own(tmp_path: Path, beside: dict[str, Any]) -> None:
    """Without a model of another kind, and without windows."""
    with pytest.raises(SettingsError, match="--student"):
        nightly(config=NightlyConfig.model_validate({"data": tmp_path, "student": "s", **beside}))
