"""The whole loop as its user runs it: a stock agent, every stage a process, and a policy that gets better."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from foundation.errors import ExitStatus

pytestmark = [pytest.mark.e2e, pytest.mark.long]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "engine",
    [
        "embedded",
        pytest.param(
            "vllm", marks=[pytest.mark.vllm, pytest.mark.skipif(find_spec("vllm") is None, reason="make setup-vllm")]
        ),
    ],
)
def test_the_agent_gets_better_from_its_own_traces(engine: str, tmp_path: Path) -> None:
    """Held-out success rises by more than chance, and the report tells the nights apart."""
    data = tmp_path / "data"
    command = [sys.executable, "-m", "spanloop", "demo", "--quick", "--json", "--engine", engine, "--data", str(data)]

    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == ExitStatus.DONE, result.stderr[-3000:]
    report = json.loads(result.stdout)
    assert report["heldout_after"] > report["heldout_before"]
    assert report["p_value"] < 0.05
    assert [night["night"] for night in report["nights"]] == [1, 2]
    for night in report["nights"]:
        assert night["engine"] == engine
        assert night["spans"] > night["transitions"] > night["episodes"] > 0
        assert night["gate"] in {"passed", "inconclusive", "refused"}
        if night["gate"] != "refused":
            assert (data / "checkpoints" / night["checkpoint"] / "manifest.json").exists()
    assert report["data"] == str(data)
    assert (data / "reward.png").stat().st_size > 10_000
    assert "<svg" in (data / "reward.html").read_text()
