"""Losses: each against a plain float64 reading of its formula, call by call, value and gradient."""

import math
from dataclasses import dataclass, replace
from itertools import product

import pytest
import torch
from torch.autograd import gradcheck

from etl.schema import Evidence
from train.losses.registry import LOSSES, Bounds, weigh
from train.losses.sampled import Sampled

BOUNDS = Bounds(clip_low=0.2, clip_high=0.28, dual_clip=3.0, beta=0.5, max_weight=20.0)


KINKS = (0.8, 1.28, 3.0)


@dataclass(frozen=True)
class Case:
    """One call as plain numbers: log-probabilities of its tokens under policy, behavior policy and reference."""

    pi: list[float]
    mu: list[float]
    reference: list[float]
    advantage: float
    opposite: float

    @property
    def ratios(self) -> list[float]:
        return [math.exp(pi - mu) for pi, mu in zip(self.pi, self.mu, strict=True)]

    @property
    def ratio(self) -> float:
        return math.prod(self.ratios)

    @property
    def moved(self) -> float:
        return sum(self.pi) - sum(self.reference)


def cases() -> list[Case]:
    """Return calls of one token in every region of the clip, and calls of three tokens, good and bad."""
    single = [
        Case([math.log(ratio) - 2.0], [-2.0], [-1.7], advantage, 0.3)
        for ratio, advantage in product((0.1, 0.7, 0.9, 1.0, 1.2, 1.5, 2.9, 6.0), (-2.0, -0.5, 0.5, 2.0))
    ]
    longer = [
        Case([-1.0 + shift, -0.5, -2.5], [-1.1, -0.6, -2.0], [-0.9, -0.8, -2.1], advantage, -0.2)
        for shift, advantage in product((-0.9, 0.0, 0.5, 2.0), (-1.5, 0.7))
    ]
    return [*single, *longer]


CASES = cases()


def sampled(chosen: list[Case] = CASES, *, requires_grad: bool = False) -> Sampled:
    """Return the cases as tensors."""
    lengths = torch.tensor([len(case.pi) for case in chosen])

    def flat(values: list[list[float]]) -> torch.Tensor:
        return torch.tensor([value for each in values for value in each], dtype=torch.float64)

    def spread(values: list[float]) -> torch.Tensor:
        return torch.repeat_interleave(torch.tensor(values, dtype=torch.float64), lengths)

    return Sampled(
        flat([case.pi for case in chosen]).requires_grad_(requires_grad),
        flat([case.mu for case in chosen]),
        spread([case.advantage for case in chosen]),
        torch.repeat_interleave(torch.arange(len(chosen)) * 3 + 5, lengths),
        flat([case.reference for case in chosen]),
        spread([case.opposite for case in chosen]),
    )


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def surrogate(ratio: float, advantage: float, low: float = 0.8, high: float = 1.28) -> tuple[float, float]:
    """Return the clipped surrogate and its derivative by the log of the ratio, case by case."""
    if advantage > 0 and ratio > high:
        return -high * advantage, 0.0
    if advantage < 0 and ratio < low:
        return -low * advantage, 0.0
    return -ratio * advantage, -ratio * advantage


def reference(name: str, case: Case) -> list[tuple[float, float]]:
    """Return loss and derivative by log pi of each token of a call, as the papers write them."""
    size, a, beta = len(case.pi), case.advantage, BOUNDS.beta
    if name in ("grpo", "dr_grpo", "dapo"):
        return [surrogate(ratio, a) for ratio in case.ratios]
    if name == "ppo":
        return [(-3 * a, 0.0) if a < 0 and ratio > 3 else surrogate(ratio, a) for ratio in case.ratios]
    if name == "rloo":
        value, slope = surrogate(case.ratio, a)
        return [(value / size, slope)] * size  # every token's share holds the whole call's ratio
    if name == "gspo":
        value, slope = surrogate(case.ratio ** (1 / size), a)
        return [(value, slope)] * size  # size tokens, each with a derivative of slope / size by every one of them
    if name == "cispo":
        weights = [min(max(ratio, 0.8), 1.28) for ratio in case.ratios]
    elif name == "reinforce":
        weights = [1.0] * size
    elif name == "topr":
        weights = [min(case.ratio, 1.0) if a < 0 else 1.0] * size
    elif name == "awr":
        weights, a = [min(math.exp(a / beta), 20.0)] * size, 1.0
    elif name == "rft":
        weights, a = [1.0 if a > 0 else 0.0] * size, 1.0
    elif name == "dro":
        moved = [pi - ref for pi, ref in zip(case.pi, case.reference, strict=True)]
        return [(-a * pi + beta / 2 * x**2, -a + beta * x) for pi, x in zip(case.pi, moved, strict=True)]
    else:
        sign = math.copysign(1.0, a)
        margin = beta * sign * (case.moved - case.opposite)
        if name == "dpo":
            return [(-math.log(sigmoid(margin)) / size, -beta * sign * sigmoid(-margin))] * size
        assert name == "kto"
        return [(sigmoid(-margin) / size, -beta * sign * sigmoid(margin) * sigmoid(-margin))] * size
    return [(-w * a * pi, -w * a) for w, pi in zip(weights, case.pi, strict=True)]


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_loss_and_gradient_are_those_of_the_formula(name: str) -> None:
    """Every region of every loss."""
    batch = sampled(requires_grad=True)

    loss = LOSSES[name].loss(batch, BOUNDS).loss
    loss.sum().backward()

    expected = [token for case in CASES for token in reference(name, case)]
    assert loss.tolist() == pytest.approx([value for value, _ in expected])
    assert batch.policy_logprobs.grad.tolist() == pytest.approx([slope for _, slope in expected])


def is_smooth(case: Case) -> bool:
    """Tell whether no ratio of a call, by token, whole or mean, is at the edge of a clip."""
    ratios = [*case.ratios, case.ratio, case.ratio ** (1 / len(case.pi))]
    return min(abs(ratio - kink) for ratio in ratios for kink in KINKS) > 0.01


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"cispo", "topr"}))
def test_autograd_agrees_with_finite_differences(name: str) -> None:
    """Gradcheck, away from the kinks. Weights of CISPO and TOPR are constants by definition: no differences there."""
    batch = sampled([case for case in CASES if is_smooth(case)])

    def loss(policy_logprobs: torch.Tensor) -> torch.Tensor:
        return LOSSES[name].loss(replace(batch, policy_logprobs=policy_logprobs), BOUNDS).loss

    assert gradcheck(loss, batch.policy_logprobs.clone().requires_grad_())


@pytest.mark.parametrize("name", ["grpo", "ppo", "rloo", "gspo"])
def test_clipped_tokens_are_those_without_a_gradient(name: str) -> None:
    """The clip fraction reported is the share of tokens the clip silenced."""
    batch = sampled(requires_grad=True)

    result = LOSSES[name].loss(batch, BOUNDS)
    result.loss.sum().backward()

    assert torch.equal(result.is_clipped, batch.policy_logprobs.grad == 0)


@pytest.mark.parametrize("name", sorted(name for name, spec in LOSSES.items() if spec.is_proportional))
def test_an_unchanged_policy_gets_the_plain_policy_gradient(name: str) -> None:
    """At ratio 1 all losses that are proportional to the advantage agree in gradient."""
    at_home = [replace(case, pi=case.mu, reference=case.mu) for case in CASES]
    batch = sampled(at_home, requires_grad=True)

    LOSSES[name].loss(batch, LOSSES[name].bounds).loss.sum().backward()

    assert torch.allclose(batch.policy_logprobs.grad, -batch.advantages)


def test_the_two_sides_of_a_pair_add_up_to_the_gradient_of_dpo() -> None:
    """Against the loss as its paper writes it, differentiated by both sides at once."""
    chosen, rejected = Case([-1.0, -2.0], [0, 0], [-1.5, -1.8], 1, 0), Case([-0.5], [0], [-1.0], -1, 0)
    pair = [replace(chosen, opposite=rejected.moved), replace(rejected, opposite=chosen.moved)]
    batch = sampled(pair, requires_grad=True)
    pi = torch.tensor([-1.0, -2.0, -0.5], dtype=torch.float64, requires_grad=True)

    LOSSES["dpo"].loss(batch, BOUNDS).loss.sum().backward()
    margin = (pi[:2].sum() + 3.3) - (pi[2] + 1.0)
    (-torch.nn.functional.logsigmoid(BOUNDS.beta * margin)).backward()

    assert torch.allclose(batch.policy_logprobs.grad, pi.grad)


def test_no_loss_pushes_away_from_the_text_of_another_model() -> None:
    """What admits foreign calls learns from good ones alone, and its gradient raises every token or none."""
    admitting = [spec for spec in LOSSES.values() if Evidence.FOREIGN in spec.admits]
    assert admitting
    for spec in admitting:
        batch = sampled(requires_grad=True)
        spec.loss(batch, spec.bounds).loss.sum().backward()
        assert spec.only_positive
        assert (batch.policy_logprobs.grad <= 0).all()
        assert not batch.policy_logprobs.grad[batch.advantages < 0].any()


def test_weighing_divides_by_what_it_is_told() -> None:
    """The sum of parts weighed alike is the weighed whole."""
    tokens = torch.arange(6.0)

    parts = weigh(tokens[:2], denominator=7) + weigh(tokens[2:], denominator=7)

    assert parts.item() == pytest.approx(weigh(tokens, denominator=7).item())
