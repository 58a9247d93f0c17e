"""The model in training as it is opened, and the module that stands around it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import Dropout, Linear

from foundation.errors import SettingsError
from tests.unit.train.calls import call
from train.data.lineage import build_sequences
from train.engine.pack import collate
from train.engine.policy import SampledTokens, load_policy, packs, save_activations, shares


def test_what_transformers_cannot_open_is_a_wrong_setting(tmp_path: Path) -> None:
    """Nothing there, or no model: the message names the directory."""
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "no-such-architecture"}')

    for place in (tmp_path / "none", tmp_path / "odd"):
        with pytest.raises(SettingsError, match=str(place)):
            load_policy(place)


def test_a_policy_is_opened_still_and_in_the_precision_that_was_asked_for(model: Path) -> None:
    """No dropout, no cache; sequences may share a row of a family that is known to work so."""
    policy = load_policy(model, dtype=torch.float64)

    assert not any(module.training for module in policy.modules())
    assert policy.config.use_cache is False
    assert {weight.dtype for weight in policy.parameters()} == {torch.float64}
    assert packs(policy)
    assert shares(policy)
    policy.set_attn_implementation("eager")
    assert not packs(policy)
    assert not shares(policy)


def test_activations_are_saved_without_waking_dropout(model: Path) -> None:
    """The layers alone are told that they train; a family that cannot is refused by name."""
    policy = load_policy(model)
    policy.model.layers[0].mlp.add_module("dropout", Dropout(0.5).eval())

    save_activations(policy)

    assert all(layer.training for layer in policy.model.layers)
    assert not policy.model.layers[0].mlp.dropout.training
    policy.supports_gradient_checkpointing = False
    with pytest.raises(SettingsError, match="qwen3 models have no gradient checkpointing"):
        save_activations(policy)


def test_the_critic_learns_from_the_policys_states_and_moves_none_of_them(model: Path) -> None:
    """One value for each answered token, in the critic's own precision; without a critic there are none."""
    policy = load_policy(model)
    head = Linear(policy.config.hidden_size, 1, dtype=torch.float64)
    (sequence,) = build_sequences([call([1, 2, 3], [4, 5])])
    batch = collate([sequence], np.ones(1), np.ones(1), device=policy.device)

    logprobs, entropies, values = SampledTokens(policy, head)(*batch.inputs)
    values.sum().backward()

    assert logprobs.shape == entropies.shape == values.shape == (2,)
    assert values.dtype == torch.float64
    assert head.weight.grad is not None
    assert all(weight.grad is None for weight in policy.parameters())
    assert SampledTokens(policy)(*batch.inputs)[2] is None
