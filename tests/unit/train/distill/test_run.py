"""A whole distillation of a tiny student: what it learns, what it writes, and what it does not repeat."""

import json
from pathlib import Path

import pytest

from foundation.errors import GateRefused
from foundation.report import RunReport
from tests.logged import publish
from tests.unit.train.distill.lessons import call
from train.distill.run import distill
from train.distill.settings import DistillConfig
from train.schema import read_manifest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [call(f"t{task}", "yes" if task % 2 else "no", number=0) for task in range(40)]
    rows += [call(f"h{task}", "yes" if task % 2 else "no", split="heldout") for task in range(6)]
    return publish(tmp_path_factory.mktemp("data"), rows)


def test_a_student_comes_nearer_to_its_teacher(data: Path, model: Path, tmp_path: Path) -> None:
    """By the held-out loss, with a manifest, a card, and nothing to teach a second time."""
    config = DistillConfig(data=data, model=model, out=tmp_path, min_calls=16, epochs=2, learning_rate=3e-3)
    report = RunReport("distill", {})

    checkpoint = distill(config, report)

    assert checkpoint is not None
    told = report.as_dict()
    assert told["heldout_loss_after"] < 0.7 * told["heldout_loss_before"]
    manifest = read_manifest(checkpoint)
    assert manifest.metrics["heldout_loss"] == pytest.approx(told["heldout_loss_after"], abs=1e-3)
    assert manifest.window["counts"]["num_taught_calls"] == 40
    card = (checkpoint / "card.md").read_text()
    assert "gpt-4o-mini (46)" in card
    assert "forbid training" in card
    lines = [json.loads(line) for line in (checkpoint / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == list(range(1, len(lines) + 1))
    with pytest.raises(GateRefused, match=r"worth imitating|imitated before"):
        distill(config.model_copy(update={"model": checkpoint}), RunReport("distill", {}))
    assert sorted(path.name for path in tmp_path.iterdir()) == [checkpoint.name]


def test_a_student_may_be_an_adapter(data: Path, model: Path, tmp_path: Path) -> None:
    """Over its base, which the manifest names."""
    config = DistillConfig(
        data=data, model=model, out=tmp_path, min_calls=16, epochs=1, adapter="lora", lora_rank=4, learning_rate=0.01
    )

    checkpoint = distill(config, RunReport("distill", {}))

    assert checkpoint is not None
    manifest = read_manifest(checkpoint)
    assert manifest.kind == "adapter"
    assert manifest.base is not None
    assert (checkpoint / "adapter_model.safetensors").exists()
