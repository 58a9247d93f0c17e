"""Log-probabilities by chunks: the same as from all logits at once, value and gradient."""

import pytest
import torch

from train.engine.logprob import token_logprobs


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("rows_per_chunk", [1, 3, 100])
def test_chunks_change_neither_values_nor_gradients(rows_per_chunk: int, has_bias: bool) -> None:
    """Against log_softmax over the full logits, each token at its own temperature."""
    torch.manual_seed(0)
    head = torch.nn.Linear(5, 11, bias=has_bias, dtype=torch.float64)
    hidden = torch.randn(7, 5, dtype=torch.float64)
    targets = torch.randint(0, 11, (7,))
    temperature = torch.tensor([0.5, 1.0, 1.5, 2.0, 1.0, 0.7, 1.0], dtype=torch.float64)
    results = []
    for chunked in (False, True):
        here = hidden.clone().requires_grad_()
        head.zero_grad()
        if chunked:
            logprobs, entropy = token_logprobs(here, head, targets, temperature, logits_per_chunk=11 * rows_per_chunk)
        else:
            whole = (head(here) / temperature[:, None]).log_softmax(-1)
            logprobs, entropy = whole[range(7), targets], -(whole.exp() * whole).sum(-1).detach()
        (logprobs * torch.arange(7)).sum().backward()
        results.append([logprobs.detach(), entropy, here.grad, head.weight.grad.clone()])

    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_the_entropy_of_a_uniform_distribution_is_the_logarithm_of_its_size() -> None:
    """Whatever the temperature, and without a gradient."""
    head = torch.nn.Linear(2, 8, bias=False)
    hidden = torch.zeros(3, 2, requires_grad=True)

    logprobs, entropy = token_logprobs(hidden, head, torch.zeros(3, dtype=torch.int64), torch.tensor([0.1, 1.0, 9.0]))

    assert entropy.tolist() == pytest.approx([2.0794415] * 3)
    assert logprobs.tolist() == pytest.approx([-2.0794415] * 3)
    assert not entropy.requires_grad
