"""Real vLLM with LoRA: adapters come and go at run time, each under a name of its own."""

import importlib.util
import json
from pathlib import Path

import pytest

from serve.change.registry import read_audit
from tests.commands import spanloop
from tests.integration.serve.test_adapters import check_serves
from tests.scale import IS_LONG
from tests.served import serving
from tests.serving import adapter_checkpoint, altered_checkpoint, collector
from train.schema import model_version

pytestmark = [
    pytest.mark.long,
    pytest.mark.integration,
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make setup-vllm"),
    pytest.mark.skipif(not IS_LONG, reason="starts vLLM twice: make soak-serve"),
]

POLICY = Path(__file__).parents[3] / "examples" / "calculator" / "policy"
USER = [{"role": "user", "content": "There are 7 birds. 3 fly away. How many are left?"}]


def test_adapters_and_engines_come_and_go(tmp_path: Path) -> None:
    """Two adapters and back; then whole weights, for which a second vLLM starts beside and the first is stopped."""
    data = tmp_path / "data"
    first, second = (
        adapter_checkpoint(POLICY, tmp_path / name, seed=seed, scale=0.1) for seed, name in ((1, "one"), (2, "two"))
    )
    whole = altered_checkpoint(POLICY, tmp_path / "whole", seed=9, scale=0.05)
    version = model_version(POLICY)
    arguments = ["--model", str(POLICY), "--engine", "vllm", "--name", "base", "--max-adapter-rank", "8"]
    with (
        collector() as received,
        serving(data, *arguments, "--", "--dtype", "float32", collector=received, timeout_s=500) as one,
    ):
        for adapter in (first, second):
            promoted = spanloop("serve", "promote", "--data", str(data), str(adapter), "--json")
            assert promoted.returncode == 0, promoted.stderr
            assert json.loads(promoted.stdout)["paused_s"] == 0
            check_serves(one, model_version(adapter), tmp_path / f"{adapter.name}-merged", version)
        assert spanloop("serve", "rollback", "--data", str(data)).returncode == 0
        check_serves(one, model_version(first), tmp_path / "one-merged", version)

        tried = spanloop("serve", "canary", "--data", str(data), str(second), "--share", "0.5")
        assert tried.returncode == 0, tried.stderr
        seen = {one.ask(messages=USER, max_tokens=2, user=f"u{n}")[1]["x-spanloop-policy-version"] for n in range(24)}
        assert seen == {model_version(first), model_version(second)}
        assert spanloop("serve", "rollback", "--data", str(data)).returncode == 0
        assert read_audit(data)[-1]["action"] == "canary_rollback"

        promoted = spanloop("serve", "promote", "--data", str(data), str(whole))
        assert promoted.returncode == 0, promoted.stderr
        check_serves(one, model_version(whole), whole, None)
