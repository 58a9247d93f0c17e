"""The gates of a promotion on a running gateway: the demo's policy, which calls tools, and what becomes of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import ExitStatus
from serve.change.behavior import read_report
from serve.change.registry import read_audit
from serve.schema import read_registry
from tests.commands import spanloop
from tests.logged import publish, transition
from tests.served import Served, serving
from tests.serving import altered_checkpoint
from train.schema import model_version, read_manifest

pytestmark = pytest.mark.integration

POLICY = Path(__file__).parents[3] / "examples" / "calculator" / "policy"
TOOL = {
    "name": "calculator",
    "description": "Evaluate an arithmetic expression.",
    "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
}


def held_out(data: Path) -> Path:
    """Publish twenty-four problems nobody trained on."""
    questions = [f"There are {number + 9} birds. {number} fly away. How many are left?" for number in range(1, 25)]
    return publish(
        data,
        [
            transition(
                observation=json.dumps(
                    [{"role": "system", "text": "Use the calculator."}, {"role": "user", "text": question}]
                ),
                tools=json.dumps([TOOL]),
                split="heldout",
            )
            for question in questions
        ],
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("gates") / "data"
    data.mkdir()
    held_out(data)
    arguments = ["--model", str(POLICY), "--engine", "embedded", "--name", "base", "--gate-tokens", "64"]
    with serving(data, *arguments) as one:
        yield one


def status(served: Served) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spanloop("serve", "status", "--data", str(served.data), "--json").stdout)
    return found


@pytest.mark.long
def test_a_model_that_behaves_as_before_is_promoted(served: Served, tmp_path: Path) -> None:
    """The report is kept, is about these weights, and the trail says that it was asked."""
    near = altered_checkpoint(POLICY, tmp_path / "near", seed=3, scale=0.001)

    promoted = spanloop("serve", "promote", "--data", str(served.data), str(near), "--json")

    assert promoted.returncode == 0, promoted.stderr
    report = read_report(served.data, model_version(near))
    assert report is not None
    assert json.loads(promoted.stdout)["behavior"] == report.model_dump(mode="json")
    assert report.weights_digest == read_manifest(near).weights_digest
    assert report.num_prompts == 24
    assert report.measures["called"].before > 0.5
    assert read_audit(served.data)[-1]["behavior"] is True
    assert status(served)["behavior"] == "passed"
    assert spanloop("serve", "rollback", "--data", str(served.data)).returncode == 0
    assert read_audit(served.data)[-1]["behavior"] is None


@pytest.mark.long
def test_a_model_that_forgot_how_to_call_tools_is_refused(served: Served, tmp_path: Path) -> None:
    """It is whole and its weights are what the trainer says: only asking it shows what it became."""
    before = read_registry(served.data)
    request = {"messages": [{"role": "user", "content": "7-3"}], "temperature": 0, "max_tokens": 8}
    said = served.ask(**request)[0]["choices"]
    broken = altered_checkpoint(POLICY, tmp_path / "broken", seed=4, scale=2)

    refused = spanloop("serve", "promote", "--data", str(served.data), str(broken))

    assert refused.returncode == ExitStatus.REFUSED
    assert "does not behave as" in refused.stderr
    report = read_report(served.data, model_version(broken))
    assert report is not None
    assert not report.passed
    assert not report.measures["called"].passed
    assert read_registry(served.data) == before
    assert served.ask(**request)[0]["choices"] == said
    forced = spanloop("serve", "promote", "--data", str(served.data), str(broken), "--force")
    assert forced.returncode == 0, forced.stderr
    assert status(served)["behavior"] == "not asked"
    assert spanloop("serve", "rollback", "--data", str(served.data)).returncode == 0
