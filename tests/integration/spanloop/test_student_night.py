"""`spanloop nightly --student` with its real stages: distilled, replayed, told, and not imitated again."""

import json
from pathlib import Path

import pytest

from foundation.errors import ExitStatus
from tests.commands import spanloop
from tests.fakes import tiny_model
from tests.logged import publish
from tests.unit.spanloop.replay.conversations import attempt
from train.schema import read_manifest

pytestmark = [pytest.mark.integration, pytest.mark.long]

SETTINGS = """
[distill]
epochs = 2
min_calls = 16
[replay]
engine = "embedded"
"""


def test_a_night_makes_a_student_once(tmp_path: Path) -> None:
    """Nothing is served, and nothing needs to be; the next run finds nothing new."""
    base = tiny_model(tmp_path / "base")
    limit = '{"max_tokens": 8}'
    rows = [row for task in range(60) for row in attempt(f"t{task}", "1+1", "2", "2", split="train", params=limit)]
    rows += [row for task in range(10) for row in attempt(f"h{task}", "1+1", "2", "2", params=limit)]
    data = publish(tmp_path / "data", rows)
    (tmp_path / "spanloop.toml").write_text(SETTINGS)
    night = ("nightly", "--data", str(data), "--student", str(base), "--json")

    first = spanloop(*night, cwd=tmp_path)
    second = spanloop(*night, cwd=tmp_path)

    assert first.returncode == second.returncode == ExitStatus.DONE, first.stderr + second.stderr
    report = json.loads(first.stdout)
    assert "replayed to the end" in report["replay"]["gained"]
    assert read_manifest(Path(report["checkpoint"])).gate is not None
    assert (Path(report["checkpoint"]) / "card.md").exists()
    assert json.loads(second.stdout)["checkpoint"] is None
    assert len(list((data / "checkpoints").glob("2*"))) == 1
