"""Truncated sampling: both policies on the set that was left to draw from, against brute force and vLLM's sampler."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from train.data.logged import Truncation
from train.engine.logprob import find_kept, token_logprobs
from train.engine.truncation import Kept, Limits, kept_tokens

CPU = torch.device("cpu")
VOCABULARY = 7
CASES = [
    Truncation(top_p, top_k, min_p) for top_p, top_k, min_p in product((1.0, 0.9, 0.4), (0, 1, 3, 99), (0.0, 0.05, 0.3))
]

RECORDED = json.loads((Path(__file__).parents[3] / "fixtures" / "vllm_truncation.json").read_text())["cases"]


def by_hand(logits: Tensor, truncation: Truncation, sampled: int) -> list[bool]:
    """Read the definition token by token: min_p, then top_k, then top_p over what is left."""
    odds = dict(enumerate(logits.double().softmax(-1).tolist()))
    left = {each: odd for each, odd in odds.items() if odd >= truncation.min_p * max(odds.values())}
    ranked = sorted(left, key=lambda each: -left[each])
    ranked = ranked[: truncation.top_k or None]
    total, reached, kept = sum(left[each] for each in ranked), 0.0, set()
    for each in ranked:
        if truncation.top_p >= 1 or reached < truncation.top_p:
            kept.add(each)
        reached += left[each] / total
    return [each in kept | {sampled} for each in range(len(odds))]


@pytest.mark.parametrize("truncation", CASES)
def test_the_kept_set_is_the_definitions(truncation: Truncation) -> None:
    """Of every distribution drawn, and whatever was sampled is in it."""
    logits = 2 * torch.randn(40, VOCABULARY, generator=torch.Generator().manual_seed(0))
    sampled = torch.arange(40) % VOCABULARY

    kept = kept_tokens(logits, Limits.of([truncation] * 40, device=CPU), sampled)

    assert kept.tolist() == [by_hand(row, truncation, each) for row, each in zip(logits, sampled.tolist(), strict=True)]


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: f"{case['top_p']}-{case['top_k']}-{case['min_p']}")
def test_what_is_kept_is_what_vllm_keeps(case: dict[str, Any]) -> None:
    """Its processed log-probabilities, as it gave them, are finite on the kept set alone, and are ours there."""
    logits = torch.tensor(case["logits"])
    theirs = torch.tensor([[-torch.inf if each is None else each for each in row] for row in case["logprobs"]])
    truncation = Truncation(case["top_p"], case["top_k"], case["min_p"])

    kept = kept_tokens(logits, Limits.of([truncation] * len(logits), device=CPU), logits.argmax(-1))
    ours = Kept.of(kept).hide_others(logits.clone()).log_softmax(-1)

    assert torch.equal(theirs > -torch.inf, kept)
    assert torch.allclose(ours[kept], theirs[kept], atol=2e-5)


def head(seed: int) -> torch.nn.Linear:
    """Return weights of a policy over the small vocabulary."""
    torch.manual_seed(seed)
    return torch.nn.Linear(3, VOCABULARY, dtype=torch.float64)


@pytest.mark.parametrize("chunk", [1, 8, 10**6])
def test_value_and_gradient_are_those_of_the_renormalised_distribution(chunk: int) -> None:
    """Of a sampled token over the kept set of the old weights, under the new ones; cut and whole tokens together."""
    old, new = head(0), head(1)
    hidden = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    targets, temperature = torch.tensor([0, 1, 2, 3, 4, 5]), torch.tensor([1.0, 0.7, 1.3, 1.0, 0.5, 1.0]).double()
    limits = Limits.of(
        [None, Truncation(0.7), Truncation(top_k=2), None, Truncation(min_p=0.3), Truncation(0.9, 3)], device=CPU
    )

    kept = find_kept(hidden, old, targets, temperature, limits, logits_per_chunk=chunk)
    found, entropies = token_logprobs(hidden, new, targets, temperature, kept=kept, logits_per_chunk=chunk)
    gradients = torch.autograd.grad(found.sum(), [hidden, new.weight, new.bias])

    before = old(hidden).detach() / temperature[:, None]
    mask = kept_tokens(before, limits, targets) | ~limits.cuts[:, None]
    exact = (new(hidden) / temperature[:, None]).masked_fill(~mask, -torch.inf).log_softmax(-1)
    chosen = exact.gather(-1, targets[:, None]).squeeze(-1)
    expected = torch.autograd.grad(chosen.sum(), [hidden, new.weight, new.bias])
    assert kept.sizes[[0, 3]].tolist() == [0, 0]
    assert torch.allclose(found, chosen)
    assert torch.allclose(entropies, -(exact.exp() * exact.nan_to_num(neginf=0)).sum(-1))
    assert all(torch.allclose(one, other) for one, other in zip(gradients, expected, strict=True))


def test_a_ratio_over_the_kept_set_has_mean_one() -> None:
    """Expected over what could be sampled: so nothing is learned or corrected that was never on offer."""
    old, new = head(0), head(1)
    hidden = torch.randn(1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).expand(VOCABULARY, 3)
    everything, temperature = torch.arange(VOCABULARY), torch.ones(VOCABULARY).double()
    offered = kept_tokens(old(hidden), Limits.of([Truncation(0.8, 4)] * VOCABULARY, device=CPU), old(hidden).argmax(-1))

    kept = Kept.of(offered)
    old_logprobs, new_logprobs = (
        token_logprobs(hidden, each, everything, temperature, kept=kept)[0] for each in (old, new)
    )

    on_offer = offered[0]
    odds = old_logprobs[on_offer].exp()
    assert odds.sum().item() == pytest.approx(1)
    assert (odds * (new_logprobs - old_logprobs)[on_offer].exp()).sum().item() == pytest.approx(1)


def test_sets_are_found_again_by_their_place() -> None:
    """In any order, more than once, and where a token had none."""
    mask = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])

    found = Kept.of(mask)[torch.tensor([2, 0, 1, 0])]

    assert found.sizes.tolist() == [1, 2, 0, 2]
    assert found.ids.tolist() == [1, 0, 2, 0, 2]
    assert found[1:3].ids.tolist() == [0, 2]
