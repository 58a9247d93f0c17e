"""Files of the stages: what is damaged is told, and hides nothing else."""

from pathlib import Path

from foundation.files import write_json
from spanloop.page import facts
from tests.nights import train


def test_nights_come_newest_first_and_a_damaged_report_is_told(tmp_path: Path) -> None:
    """With its name."""
    runs = tmp_path / "nightly" / "runs"
    for name, started in (("a", "2026-01-01"), ("b", "2026-01-02")):
        write_json(runs / f"{name}.json", {"started_time": started})
    (runs / "c.json").write_text("{")

    found = facts.nights(tmp_path)

    assert [night["run_id"] for night in found] == ["b", "a", "c"]
    assert "c.json cannot be read" in found[2]["problem"]


def test_checkpoints_with_their_gates_and_updates(tmp_path: Path) -> None:
    """Those whose weights were removed too; a directory that was never finished is none."""
    made = Path(train(tmp_path / "checkpoints", _model(tmp_path))["checkpoint"])
    (made / "metrics.jsonl").write_text('{"update": 1}\n[]\n{"upda')
    (tmp_path / "checkpoints" / "unfinished").mkdir()
    write_json(tmp_path / "checkpoints" / "old" / "pruned.json", {"checkpoint_id": "old"})
    write_json(tmp_path / "serve" / "gates" / f"{made.name}.json", {"passed": True})

    known = {checkpoint.id: checkpoint for checkpoint in facts.checkpoints(tmp_path)}

    assert set(known) == {made.name, "old"}
    assert known["old"].is_pruned
    assert known[made.name].behavior == {"passed": True}
    assert facts.metrics(known[made.name]) == [{"update": 1}]


def _model(directory: Path) -> Path:
    model = directory / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"")
    return model


def test_a_damaged_registry_and_no_files_at_all_are_told(tmp_path: Path) -> None:
    """An empty directory has empty pages."""
    assert facts.registry(tmp_path) == (None, None)
    assert (facts.nights(tmp_path), facts.checkpoints(tmp_path), facts.changes(tmp_path)) == ([], [], [])
    (tmp_path / "serve").mkdir()
    (tmp_path / "serve" / "registry.json").write_text("{")

    assert "registry.json" in str(facts.registry(tmp_path)[1])
