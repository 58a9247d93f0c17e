"""LoRA adapters behind the same name: promoted, replaced, rolled back and tried as canaries, over a base that stays."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from foundation.errors import ExitStatus
from otel_exporter import schema as names
from serve.schema import read_registry
from tests.commands import spanloop
from tests.fakes import tiny_model
from tests.served import Served, serving
from tests.serving import adapter_checkpoint, collector, with_manifest
from train.schema import model_version

pytestmark = pytest.mark.integration

USER = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("adapters")
    model = tiny_model(root / "base", seed=0)
    with (
        collector() as received,
        serving(root / "data", "--model", str(model), "--engine", "embedded", collector=received) as one,
    ):
        yield one


def base_of(served: Served) -> Path:
    return served.data.parent / "base"


def recompute(model: Path, span: dict[str, Any]) -> list[float]:
    prompt, response = span[names.PROMPT_TOKEN_IDS], span[names.CHOICE_TOKEN_IDS.format(index=0)]
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.inference_mode():
        logprobs = net(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
    return [logprobs[len(prompt) - 1 + place, token].item() for place, token in enumerate(response)]


def check_serves(served: Served, version: str, weights: Path, base: str | None) -> None:
    """Ask once: the answer names the version, and its recorded log-probabilities are those of these weights."""
    answer, headers = served.ask(messages=USER, temperature=1, max_tokens=12)
    span = served.span_of(answer["id"])
    assert headers["x-spanloop-policy-version"] == span[names.POLICY_VERSION] == version
    assert span.get(names.POLICY_BASE) == base
    assert span[names.CHOICE_LOGPROBS.format(index=0)] == pytest.approx(recompute(weights, span), abs=1e-3)


def test_adapters_come_and_go_over_one_base(served: Served, tmp_path: Path) -> None:
    """Base, first, second, back to the first, back to the base: each answers with its own weights, none pauses."""
    data, base = str(served.data), base_of(served)
    first, second = (adapter_checkpoint(base, tmp_path / name, seed=seed) for seed, name in ((1, "one"), (2, "two")))
    version = model_version(base)

    for adapter in (first, second):
        promoted = spanloop("serve", "promote", "--data", data, str(adapter), "--json")
        assert promoted.returncode == 0, promoted.stderr
        assert json.loads(promoted.stdout)["paused_s"] == 0
        check_serves(served, model_version(adapter), tmp_path / f"{adapter.name}-merged", version)
    assert spanloop("serve", "rollback", "--data", data).returncode == 0
    check_serves(served, model_version(first), tmp_path / "one-merged", version)
    assert spanloop("serve", "rollback", "--data", data).returncode == 0
    check_serves(served, version, base, None)


@pytest.mark.long
def test_an_adapter_is_live_again_after_a_restart(tmp_path: Path) -> None:
    """The engine starts on the base and takes the adapter; without the base it is not started on anything else."""
    base = tiny_model(tmp_path / "base", seed=0)
    adapter = adapter_checkpoint(base, tmp_path / "one", seed=1)
    data = tmp_path / "data"
    from serve.change import registry

    registry.initialise(data, base, "base")
    assert spanloop("serve", "promote", "--data", str(data), str(adapter)).returncode == 0
    with collector() as received, serving(data, "--engine", "embedded", collector=received) as one:
        check_serves(one, model_version(adapter), tmp_path / "one-merged", model_version(base))


def test_an_adapter_over_another_base_is_refused(served: Served, tmp_path: Path) -> None:
    """By the digest of its weights, whatever the path is called; and so is one that is damaged."""
    before = read_registry(served.data)
    other = tiny_model(tmp_path / "base", seed=5)
    stranger = adapter_checkpoint(other, tmp_path / "stranger", seed=1)
    tiny_model(tmp_path / "base", seed=6)
    damaged = adapter_checkpoint(base_of(served), tmp_path / "damaged", seed=1)
    content = bytearray((damaged / "adapter_model.safetensors").read_bytes())
    content[-1] ^= 1
    (damaged / "adapter_model.safetensors").write_bytes(content)

    results = [spanloop("serve", "promote", "--data", str(served.data), str(each)) for each in (stranger, damaged)]

    assert [result.returncode for result in results] == [ExitStatus.REFUSED] * 2
    assert "is not the base of" in results[0].stderr
    assert "not those of its manifest" in results[1].stderr
    assert read_registry(served.data) == before


@pytest.mark.long
@pytest.mark.parametrize("is_alone", [False, True], ids=["beside", "second engine"])
def test_what_cannot_change_in_place_is_opened_beside(served: Served, tmp_path: Path, is_alone: bool) -> None:
    """A wider model in the same engine; one with another template in a second engine, and the first is stopped."""
    wide = tiny_model(tmp_path / f"wide-{is_alone}", seed=3, hidden_size=64)
    if is_alone:
        template = wide / "chat_template.jinja"
        template.write_text(template.read_text() + "{# another #}")
    with_manifest(wide)
    before = read_registry(served.data)
    assert before is not None
    engines = engines_of(served)

    promoted = spanloop("serve", "promote", "--data", str(served.data), str(wide))

    assert promoted.returncode == 0, promoted.stderr
    check_serves(served, model_version(wide), wide, None)
    assert (engines_of(served) != engines) == is_alone
    assert len(engines_of(served)) == 1
    assert spanloop("serve", "rollback", "--data", str(served.data)).returncode == 0
    check_serves(served, before.live_version, Path(before.live), None)


def engines_of(served: Served) -> list[str]:
    """Return the processes the gateway has started."""
    pid = served.process.pid
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
