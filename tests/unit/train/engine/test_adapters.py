"""Adapters: a frozen base, a PEFT directory that names it, and the same policy whether merged or not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from foundation.errors import SettingsError, SpanloopError
from foundation.report import RunReport
from tests.logged import bandit, publish
from train.engine.adapters import attach, has_adapter
from train.engine.policy import load_policy
from train.gate.evaluate import evaluate
from train.plan import make_plan, read_limits
from train.run import train, train_each_agent
from train.schema import model_version, read_manifest, weights_digest
from train.settings import EvaluateConfig, TrainConfig

Train = Callable[..., Path]


@pytest.fixture(scope="module")
def data(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of two agents."""
    rows = [
        row | {"agent": agent, "episode_id": f"{agent}-{row['episode_id']}", "span_id": f"{agent}-{row['span_id']}"}
        for seed, agent in enumerate(("planner", "writer [v2]"))
        for row in bandit(model, num_tasks=16, attempts=4, rewarded=130, seed=seed)
    ]
    return publish(tmp_path_factory.mktemp("data"), rows)


@pytest.fixture(scope="module")
def learn(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Return what trains an adapter with some settings and returns the checkpoint."""

    def run(**settings: Any) -> Path:
        given = {"data": data, "model": model, "out": tmp_path_factory.mktemp("out"), "adapter": "lora", "epochs": 1}
        config = TrainConfig.model_validate(given | {"learning_rate": 1e-3, "lora_rank": 4} | settings)
        vocabulary_size, max_length = read_limits(config.model)
        plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
        path = train(config, plan, RunReport("train run", {}))
        assert path is not None
        return path

    return run


@pytest.fixture(scope="module")
def adapter(learn: Train) -> Path:
    """Train once, for all tests of what comes out."""
    return learn()


def logits(policy: torch.nn.Module) -> torch.Tensor:
    """Return what a model makes of a fixed prompt."""
    with torch.no_grad():
        found: torch.Tensor = policy(input_ids=torch.arange(12)[None]).logits
    return found


def test_the_directory_is_a_peft_adapter_that_names_its_base(adapter: Path, model: Path) -> None:
    """A few files, none of them the base's weights; the base is named by path, version and digest."""
    manifest = read_manifest(adapter)

    assert {path.name for path in adapter.glob("*.safetensors")} == {"adapter_model.safetensors"}
    assert not (adapter / "config.json").exists()
    assert not (adapter / "README.md").exists()
    assert json.loads((adapter / "adapter_config.json").read_bytes())["base_model_name_or_path"] == str(model)
    assert manifest.kind == "adapter"
    assert manifest.base is not None
    assert (manifest.base.version, manifest.base.weights_digest) == (model_version(model), weights_digest(model))
    assert (adapter / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()


def test_probes_are_what_peft_computes_from_base_and_adapter(adapter: Path, model: Path) -> None:
    """By the library's own way of opening it, which knows nothing of our manifest."""
    from peft import PeftModel

    policy = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), str(adapter))

    for probe in read_manifest(adapter).probes:
        ids = torch.tensor([probe.prompt_token_ids + probe.response_token_ids])
        with torch.no_grad():
            distribution = policy(input_ids=ids).logits[0].log_softmax(-1)
        begin = len(probe.prompt_token_ids)
        again = [distribution[begin + k - 1, token].item() for k, token in enumerate(probe.response_token_ids)]
        assert probe.logprobs == pytest.approx(again, abs=1e-4)
    assert not torch.allclose(logits(policy), logits(load_policy(model)), atol=1e-3)


def test_the_base_stays_as_it_is_to_the_last_bit(model: Path) -> None:
    """Before training the adapter changes nothing; whatever it does, the weights under it are not touched."""
    policy, plain = load_policy(model), load_policy(model)
    attach(policy, TrainConfig(model=model, lora_rank=4))
    assert torch.equal(logits(policy), logits(plain))

    trained = [weight for weight in policy.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.1)
    for _ in range(3):
        policy(input_ids=torch.arange(12)[None]).logits.logsumexp(-1).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    frozen = [weight for weight in policy.parameters() if not weight.requires_grad]
    assert all(torch.equal(one, other) for one, other in zip(frozen, plain.parameters(), strict=True))
    assert not torch.equal(logits(policy), logits(plain))
    assert {name.split(".")[-4] for name, weight in policy.named_parameters() if weight.requires_grad} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }


def test_merged_it_is_a_whole_model_with_the_same_answers(learn: Train, adapter: Path, model: Path) -> None:
    """The same tensors as the base, so that an engine can take it in the base's place."""
    merged = learn(merge=True)

    whole, theirs = AutoModelForCausalLM.from_pretrained(merged), load_policy(model)
    assert read_manifest(merged).kind == "full"
    assert read_manifest(merged).base is None
    assert whole.state_dict().keys() == theirs.state_dict().keys()
    assert {path.name for path in merged.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert torch.allclose(logits(whole), logits(load_policy(adapter)), atol=1e-4)
    assert not torch.allclose(logits(whole), logits(theirs), atol=1e-3)


def test_an_adapter_is_trained_further_over_the_same_base(learn: Train, adapter: Path) -> None:
    """Without being asked for again, and its parent is the adapter."""
    # The calls were sampled by the base, two updates away: near enough when one says so.
    again = learn(model=adapter, adapter="none", max_mismatch=9, max_version_lag=1, kl_budget=9)

    one, other = read_manifest(adapter), read_manifest(again)
    assert other.kind == "adapter"
    assert other.parent == one.checkpoint_id
    assert other.base == one.base
    assert other.weights_digest != one.weights_digest


def test_an_adapter_is_judged_like_any_checkpoint(adapter: Path, model: Path, tmp_path: Path) -> None:
    """Over its base, against the calls the base sampled."""
    data = publish(tmp_path, bandit(model, num_tasks=16, attempts=2, rewarded=130, seed=9, split="heldout"))

    _, gate = evaluate(EvaluateConfig(data=data, checkpoint=adapter, max_kl=9))

    assert gate["weights_digest"] == read_manifest(adapter).weights_digest
    assert gate["estimate"]["num_calls"] == 32
    assert gate["estimate"]["kl_call"] > 1e-4


def test_an_adapter_over_other_weights_is_refused(adapter: Path, model: Path, tmp_path: Path) -> None:
    """The base may move; it may not change."""
    moved = tmp_path / model.name
    shutil.copytree(model, moved)
    there = tmp_path / adapter.name
    shutil.copytree(adapter, there)
    config = json.loads((there / "adapter_config.json").read_bytes())
    (there / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": f"/gone/{model.name}"}))
    assert has_adapter(load_policy(there))

    changed = AutoModelForCausalLM.from_pretrained(moved)
    with torch.no_grad():
        next(changed.parameters()).add_(1e-3)
    changed.save_pretrained(moved)

    with pytest.raises(SpanloopError, match="is not the base of"):
        load_policy(there)


def test_a_base_that_is_gone_is_named(adapter: Path, tmp_path: Path) -> None:
    """With what to do about it."""
    there = tmp_path / adapter.name
    shutil.copytree(adapter, there)
    config = json.loads((there / "adapter_config.json").read_bytes())
    (there / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "/gone/base"}))

    with pytest.raises(SpanloopError, match="/gone/base"):
        read_limits(there)


def test_every_agent_gets_an_adapter_of_its_own(model: Path, data: Path, tmp_path: Path) -> None:
    """From one dataset; an agent whose name is a pattern is meant literally."""
    config = TrainConfig(
        data=data, model=model, out=tmp_path, adapter="lora", adapter_per_agent=True, epochs=1, learning_rate=1e-3
    )
    vocabulary_size, max_length = read_limits(model)
    plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)

    checkpoints = train_each_agent(config, plan, RunReport("train run", {}))

    manifests = {agent: read_manifest(path) for agent, path in checkpoints.items()}
    assert set(manifests) == {"planner", "writer [v2]"}
    assert {agent: manifest.window["counts"]["num_trained_calls"] for agent, manifest in manifests.items()} == {
        "planner": 64,
        "writer [v2]": 64,
    }
    assert len({manifest.weights_digest for manifest in manifests.values()}) == 2
    assert len({manifest.base for manifest in manifests.values()}) == 1


def test_targets_that_fit_nothing_are_refused_with_those_that_do(model: Path) -> None:
    """And the head is no target."""
    with pytest.raises(SettingsError) as raised:
        attach(load_policy(model), TrainConfig(model=model, lora_targets="Wqkv"))
    assert "q_proj" in str(raised.value.hint)

    with pytest.raises(SettingsError, match="never adapted"):
        attach(load_policy(model), TrainConfig(model=model, lora_targets="q_proj, lm_head"))


def test_merging_and_adapters_by_agent_need_adapters(model: Path, learn: Train) -> None:
    """Settings that contradict each other are refused."""
    with pytest.raises(SettingsError, match="no adapter to merge"):
        learn(adapter="none", merge=True)
    with pytest.raises(ValueError, match="adapter_per_agent"):
        TrainConfig(model=model, adapter_per_agent=True)


def test_what_is_trained_is_kept_in_full_precision(model: Path) -> None:
    """Over a base in half precision: an update is smaller than what that resolves."""
    policy = load_policy(model, dtype=torch.bfloat16)

    attach(policy, TrainConfig(model=model, lora_rank=4))

    assert {weight.dtype for weight in policy.parameters() if weight.requires_grad} == {torch.float32}
    assert {weight.dtype for weight in policy.parameters() if not weight.requires_grad} == {torch.bfloat16}
    assert np.isfinite(logits(policy).float().numpy()).all()
