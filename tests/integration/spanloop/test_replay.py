"""`spanloop replay` of a checkpoint as processes: served from a place of its own, asked, judged."""

import json
from pathlib import Path

import pytest

from foundation.errors import ExitStatus
from tests.commands import spanloop
from tests.logged import publish
from tests.serving import tiny_checkpoint
from tests.unit.spanloop.replay.conversations import attempt
from train.schema import read_manifest

pytestmark = [pytest.mark.integration, pytest.mark.long]


def test_a_checkpoint_is_served_asked_and_judged(tmp_path: Path) -> None:
    """One of random weights comes to no good end: refused, says its manifest, and nothing became live."""
    rows = [row for task in range(10) for row in attempt(f"t{task}", "1+1", "2", "2", params='{"max_tokens": 8}')]
    data = publish(tmp_path / "data", rows)
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint", seed=1)

    result = spanloop(
        *("replay", "--data", str(data), "--candidate", str(checkpoint), "--engine", "embedded", "--gate", "--json")
    )

    assert result.returncode == ExitStatus.REFUSED, result.stderr
    comparison = json.loads(result.stdout)["comparison"]
    assert comparison["num_states"] == 10
    assert comparison["candidate"]["score"]["mean"] < comparison["teacher"]["score"]["mean"]
    gate = read_manifest(checkpoint).gate
    assert gate is not None
    assert gate["verdict"] == "refused"
    assert not (data / "registry.json").exists()
