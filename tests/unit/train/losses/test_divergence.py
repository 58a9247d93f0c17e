"""Divergences beside the values of distributions known whole."""

import math

import pytest
import torch

from train.losses.divergence import behavior_kl, divergence, measured_kl, reference_kl
from train.losses.sampled import Sampled
from train.settings import Estimator


def test_divergences_of_a_known_distribution() -> None:
    """Expected k1 and k3 are the divergence itself, summed over every outcome; k2 is close, `smaller` not above k3."""
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.4, 0.4, 0.2])
    exact = (p * (p / q).log()).sum()

    found = {name: (p * divergence((q / p).log(), name)).sum() for name in ("k1", "k2", "k3", "smaller")}

    assert found["k1"].item() == pytest.approx(exact.item(), abs=1e-6)
    assert found["k3"].item() == pytest.approx(exact.item(), abs=1e-6)
    assert found["k2"].item() == pytest.approx(exact.item(), rel=0.1)
    assert found["smaller"] <= found["k3"]


def test_divergence_is_zero_at_home_and_grows_both_ways() -> None:
    """Half the square of a rise, e^x - 1 - x of a fall; to the reference the other way round, weighed by the ratio."""
    mu = torch.tensor([-1.0, -1.0, -1.0])
    batch = Sampled(torch.tensor([-1.0, -2.0, 0.0]), mu, torch.zeros(3), reference_logprobs=mu)

    assert behavior_kl(batch).tolist() == pytest.approx([0.0, math.exp(-1), 0.5])
    assert reference_kl(batch).tolist() == pytest.approx([0.0, 0.5 * math.exp(-1), 1.0])


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_the_pull_to_the_reference_is_the_gradient_of_the_divergence(estimator: Estimator) -> None:
    """KL(pi || reference), in expectation over what another policy sampled; towards the reference, never away."""
    mu, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.2, 0.3, 0.5]).log()
    logits = torch.tensor([0.3, -0.2, 0.4], dtype=torch.float64, requires_grad=True)
    policy = logits.log_softmax(-1)
    exact = torch.autograd.grad((policy.exp() * (policy - reference)).sum(), logits, retain_graph=True)[0]

    batch = Sampled(policy, mu.log().double(), torch.zeros(3), reference_logprobs=reference.double())
    found = torch.autograd.grad((mu * reference_kl(batch, estimator)).sum(), logits)[0]

    assert torch.allclose(found, exact, atol=1e-6)


def test_what_limits_are_measured_by_is_the_divergence_itself() -> None:
    """Where `smaller` reads it low; one token that has become all but certain does not explode it."""
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5])
    exact = float((p * (p / q).log()).sum())

    assert float((p * measured_kl((q / p).log())).sum()) == pytest.approx(exact, rel=1e-5)
    assert float((p * divergence((q / p).log(), "smaller")).sum()) < 0.95 * exact
    assert float(measured_kl(torch.tensor(11.0))) < 20
