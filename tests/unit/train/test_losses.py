"""Losses: each against a plain float64 reading of its formula, value and gradient."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from train.losses import LOSSES, Bounds, Sampled, behavior_kl, weigh

BOUNDS = Bounds(clip_low=0.2, clip_high=0.28, dual_clip=3.0)


def cases() -> list[tuple[float, float, float]]:
    """Return (log pi, log mu, advantage) across every region of the clip: below, inside, above, far above."""
    return [
        (math.log(ratio) - 2.0, -2.0, advantage)
        for ratio in (0.1, 0.7, 0.9, 1.0, 1.2, 1.5, 2.9, 6.0)
        for advantage in (-2.0, -0.5, 0.5, 2.0)
    ]


def sampled(*, requires_grad: bool = False) -> Sampled:
    """Return the cases as tensors."""
    pi, mu, advantages = torch.tensor(cases(), dtype=torch.float64).T.contiguous()
    return Sampled(pi.clone().requires_grad_(requires_grad), mu, advantages)


def reference(name: str, pi: float, mu: float, advantage: float) -> tuple[float, float]:
    """Return loss and its derivative by log pi of one token, case by case as the papers write them."""
    ratio = math.exp(pi - mu)
    clipped = min(max(ratio, 0.8), 1.28)
    if name == "reinforce":
        return -advantage * pi, -advantage
    if name == "cispo":
        return -clipped * advantage * pi, -clipped * advantage
    is_free = (ratio <= 1.28) if advantage > 0 else (ratio >= 0.8)
    if name == "ppo" and advantage < 0 and ratio > 3.0:
        return -3.0 * advantage, 0.0
    return (-ratio * advantage, -ratio * advantage) if is_free else (-clipped * advantage, 0.0)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_loss_and_gradient_are_those_of_the_formula(name: str) -> None:
    """Every region of every loss."""
    batch = sampled(requires_grad=True)

    loss = LOSSES[name](batch, BOUNDS).loss
    loss.sum().backward()

    expected = [reference(name, *case) for case in cases()]
    assert loss.tolist() == pytest.approx([value for value, _ in expected])
    assert batch.policy_logprobs.grad.tolist() == pytest.approx([slope for _, slope in expected])


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"cispo"}))
def test_autograd_agrees_with_finite_differences(name: str) -> None:
    """Gradcheck, away from the kinks. CISPO's weight is a constant by definition, so differences do not apply."""
    batch = sampled()
    smooth = [
        index
        for index, (pi, mu, _) in enumerate(cases())
        if min(abs(math.exp(pi - mu) - k) for k in (0.8, 1.28, 3)) > 0.01
    ]

    def loss(policy_logprobs: torch.Tensor) -> torch.Tensor:
        chosen = Sampled(policy_logprobs, batch.behavior_logprobs[smooth], batch.advantages[smooth])
        return LOSSES[name](chosen, BOUNDS).loss

    assert gradcheck(loss, batch.policy_logprobs[smooth].clone().requires_grad_())


def test_clipped_tokens_are_those_without_a_gradient() -> None:
    """The clip fraction reported is the share of tokens the clip silenced."""
    for name in ("grpo", "ppo"):
        batch = sampled(requires_grad=True)
        result = LOSSES[name](batch, BOUNDS)
        result.loss.sum().backward()
        assert torch.equal(result.is_clipped, batch.policy_logprobs.grad == 0)


def test_an_unchanged_policy_gets_the_plain_policy_gradient_from_every_loss() -> None:
    """At ratio 1 all losses agree in gradient."""
    gradients = {}
    for name, loss in LOSSES.items():
        pi = torch.tensor([-1.0, -2.0, -0.5], dtype=torch.float64, requires_grad=True)
        batch = Sampled(pi, pi.detach().clone(), torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64))
        loss(batch, BOUNDS).loss.sum().backward()
        gradients[name] = pi.grad.tolist()

    assert all(gradient == pytest.approx([-1.0, 1.0, -0.5]) for gradient in gradients.values())


def test_divergence_is_zero_at_home_and_grows_both_ways() -> None:
    """Half the square of a rise, e^x - 1 - x of a fall."""
    mu = torch.tensor([-1.0, -1.0, -1.0])

    divergence = behavior_kl(Sampled(torch.tensor([-1.0, -2.0, 0.0]), mu, torch.zeros(3)))

    assert divergence.tolist() == pytest.approx([0.0, math.exp(-1), 0.5])


def test_a_hopeless_ratio_stays_finite() -> None:
    """A token the behavior policy all but excluded does not make the loss infinite."""
    batch = Sampled(torch.tensor([0.0]), torch.tensor([-500.0]), torch.tensor([-1.0]))

    assert all(torch.isfinite(loss(batch, BOUNDS).loss).all() for loss in LOSSES.values())


def test_weighing_divides_by_what_it_is_told() -> None:
    """The sum of parts weighed alike is the weighed whole."""
    tokens = torch.arange(6.0)

    parts = weigh(tokens[:2], denominator=7) + weigh(tokens[2:], denominator=7)

    assert parts.item() == pytest.approx(weigh(tokens, denominator=7).item())
