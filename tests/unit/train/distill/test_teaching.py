"""When teaching ends, and which weights are kept."""

from pathlib import Path

import pytest

from foundation.errors import GateRefused
from foundation.report import RunReport
from tests.logged import publish
from tests.unit.train.distill.lessons import call
from train.distill.run import distill
from train.distill.settings import DistillConfig


def test_a_student_that_got_no_nearer_is_not_published(tmp_path: Path, model: Path) -> None:
    """Here by a step that is far too large: the loss rises, and nothing is written."""
    rows = [call(f"t{task}", "yes") for task in range(20)]
    rows += [call(f"h{task}", "no", split="heldout") for task in range(6)]
    data = publish(tmp_path / "data", rows)
    config = DistillConfig(data=data, model=model, min_calls=16, learning_rate=30, patience=1, out=tmp_path / "out")

    with pytest.raises(GateRefused, match="did not fall"):
        distill(config, RunReport("distill", {}))

    assert list((tmp_path / "out").iterdir()) == []


def test_a_budget_ends_it_at_the_best_so_far(tmp_path: Path, model: Path) -> None:
    """The time is looked at after every update."""
    rows = [call(f"t{task}", "yes") for task in range(40)]
    rows += [call(f"h{task}", "yes", split="heldout") for task in range(6)]
    config = DistillConfig(
        data=publish(tmp_path / "data", rows),
        model=model,
        min_calls=16,
        learning_rate=3e-3,
        budget_s=1e-9,
        out=tmp_path / "out",
    )
    report = RunReport("distill", {})

    assert distill(config, report) is not None
    assert report.as_dict()["num_updates"] == 1
    assert "budget_s" in report.as_dict()["stopped"]
