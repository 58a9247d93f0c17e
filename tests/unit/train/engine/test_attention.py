"""Packed rows: what a model makes of a sequence does not depend on what lies beside it."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen3Config,
)

from foundation.errors import SettingsError
from train.engine.policy import SampledTokens, load_policy, packs, save_activations

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
PACKED = {
    "qwen3": Qwen3Config(**SHAPE),
    "llama": LlamaConfig(**SHAPE, attention_bias=True),
    "sliding window": MistralConfig(**SHAPE, sliding_window=4),
    "gpt2": GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3),
}
SEQUENCES = [torch.arange(3, 14), torch.arange(20, 25), torch.arange(40, 45), torch.arange(1, 8)]


def write(config: PreTrainedConfig, path: Path) -> Path:
    """Write a model directory with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(path)
    return path


def packed_logprobs(policy: torch.nn.Module, order: list[int]) -> torch.Tensor:
    """Return the log-probability of every token but the first of each sequence, packed in some order."""
    sequences = [SEQUENCES[index] for index in order]
    lengths = torch.tensor([len(ids) for ids in sequences])
    boundaries = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]).int()
    row, positions = torch.cat(sequences), torch.cat([torch.arange(len(ids)) for ids in sequences])
    predicted = torch.nonzero(positions).squeeze(-1)
    flat, _, _ = SampledTokens(policy)(
        row[None],
        positions[None],
        boundaries,
        int(lengths.max()),
        predicted - 1,
        row[predicted],
        torch.ones(len(predicted)),
    )
    parts = dict(zip(order, flat.split((lengths - 1).tolist()), strict=True))
    return torch.cat([parts[index] for index in range(len(SEQUENCES))])


def padded_logprobs(policy: torch.nn.Module) -> torch.Tensor:
    """Return the same from transformers' own forward pass over padded rows."""
    width = max(len(ids) for ids in SEQUENCES)
    rows = torch.stack([torch.nn.functional.pad(ids, (0, width - len(ids))) for ids in SEQUENCES])
    mask = torch.stack([(torch.arange(width) < len(ids)).long() for ids in SEQUENCES])
    distribution = policy(input_ids=rows, attention_mask=mask).logits[:, :-1].log_softmax(-1)
    chosen = distribution.gather(-1, rows[:, 1:, None]).squeeze(-1)
    return chosen[mask[:, 1:].bool()]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
@pytest.mark.parametrize("name", PACKED)
def test_packed_is_padded_in_value_and_gradient(name: str, order: list[int], tmp_path: Path) -> None:
    """Whatever the order in the row, to 1e-6 in float64 (norms and rotations are float32 in transformers)."""
    path = write(PACKED[name], tmp_path)
    ours, theirs = (
        load_policy(path, dtype=torch.float64),
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64),
    )
    assert packs(ours)

    one, other = packed_logprobs(ours, order), padded_logprobs(theirs.eval())
    importance = torch.linspace(-1, 1, len(one), dtype=torch.float64)
    (one * importance).sum().backward()
    (other * importance).sum().backward()

    assert torch.allclose(one, other, atol=1e-6)
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine.grad, reference.grad, atol=1e-6)


def test_layers_that_carry_over_get_a_pass_for_every_sequence(tmp_path: Path) -> None:
    """A convolution over the row would mix its sequences: seen when the model is opened."""
    config = Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False)

    policy = load_policy(write(config, tmp_path))

    assert not packs(policy)


def test_logits_changed_after_the_head_are_refused(tmp_path: Path) -> None:
    """Soft caps: our log-probabilities would not be the model's."""
    config = Gemma2Config(**SHAPE, final_logit_softcapping=1.0, attn_logit_softcapping=None)

    with pytest.raises(SettingsError, match="change their logits after the head"):
        load_policy(write(config, tmp_path))


def test_saved_activations_change_nothing_but_the_work(tmp_path: Path) -> None:
    """Every layer runs twice, dropout stays off, and the gradient is the same to the last bit."""
    path = write(LlamaConfig(**SHAPE, attention_dropout=0.5), tmp_path)
    gradients, runs = [], []
    for is_saving in (False, True):
        policy = load_policy(path)
        if is_saving:
            save_activations(policy)
        passes: list[object] = []
        for layer in policy.get_decoder().layers:
            layer.mlp.register_forward_pre_hook(lambda *_: passes.append(None))  # noqa: B023 - run before the next loop
        packed_logprobs(policy, [0, 1, 2, 3]).sum().backward()
        gradients.append([weight.grad for weight in policy.parameters()])
        runs.append(len(passes))

    assert runs == [2, 4]
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
