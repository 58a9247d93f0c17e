"""What stands out of the noise moves, and nothing else does."""

import numpy as np
import pytest
import torch
from torch.distributed.checkpoint.state_dict import get_state_dict

from train.engine.standout import QUIET, SMALLEST_SIZE, THRESHOLD, Standout, standout


def gathered(weight: torch.Tensor, gradients: torch.Tensor) -> Standout:
    """Return an optimiser that was given gradients of one weight tensor, batch by batch."""
    optimizer = Standout([weight])
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return optimizer


def test_a_direction_is_that_of_its_definition() -> None:
    """Mean over standard error, shrunk, times the tensor's size: by an independent reading in numpy."""
    weight = torch.nn.Parameter(torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(3, 4))
    gradients = torch.randn(30, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients[:, 0] += torch.tensor([3.0, -3.0, 1.0, 0.2])

    (found,) = gathered(weight, gradients).directions([weight])

    each = gradients.numpy()
    error = each.std(axis=0, ddof=1) / np.sqrt(len(each))
    t = each.mean(axis=0) / (error + QUIET * error.mean())
    size = np.sqrt((weight.detach().numpy() ** 2).mean())
    expected = np.where(t**2 > THRESHOLD, -size * (t - THRESHOLD / t), 0)
    assert found.numpy() == pytest.approx(expected, rel=1e-6)
    assert set(found[0, :2].sign().tolist()) == {-1.0, 1.0}


def test_a_tensor_stands_out_by_how_its_batches_agree() -> None:
    """By an independent reading: each batch with the sum of those before, over the root of the sum of squares."""
    strong, weak = (torch.nn.Parameter(torch.ones(50)) for _ in range(2))
    gradients = torch.randn(2, 24, 50, generator=torch.Generator().manual_seed(3))
    gradients[0] += 0.5
    optimizer = Standout([strong, weak])
    for one, other in zip(*gradients, strict=True):
        strong.grad, weak.grad = one, other
        optimizer.step()

    for weight, each in zip((strong, weak), gradients.double().numpy(), strict=True):
        products = [each[index] @ each[:index].sum(axis=0) for index in range(len(each))]
        assert optimizer.stands_out(weight) == pytest.approx(np.sum(products) / np.linalg.norm(products), rel=1e-4)
    assert optimizer.stands_out(strong) > 3 > 1 > optimizer.stands_out(weak)
    found, nothing = optimizer.directions([strong, weak])
    assert found.any()
    assert not nothing.any()


def test_tensors_of_chance_stand_out_as_a_normal_number_would() -> None:
    """A sixth of them by more than one deviation, one in forty by two: at as few batches as there may be."""
    weights = [torch.nn.Parameter(torch.ones(40)) for _ in range(1000)]
    optimizer = Standout(weights)
    randomness = torch.Generator().manual_seed(1)
    for _ in range(16):
        for weight in weights:
            weight.grad = torch.randn(40, generator=randomness)
        optimizer.step()

    found = np.array([optimizer.stands_out(weight) for weight in weights])
    assert 0.12 < (found > 1).mean() < 0.2
    assert (found > 2).mean() < 0.035


def test_nights_of_chance_are_not_sure_of_anything() -> None:
    """Forty tensors of noise, a hundred times: what they stand out by together is as the normal distribution has it."""
    randomness = torch.Generator().manual_seed(2)
    found = []
    for _ in range(100):
        weights = [torch.nn.Parameter(torch.ones(20)) for _ in range(40)]
        optimizer = Standout(weights)
        for _ in range(24):
            for weight in weights:
                weight.grad = torch.randn(20, generator=randomness)
            optimizer.step()
        found.append(optimizer.evidence(weights))

    assert 0.05 < np.mean(found) < 0.2
    assert np.quantile(found, 0.95) < 0.75


def test_a_few_tensors_that_stand_out_are_evidence_for_the_step() -> None:
    """Three of forty, by some four deviations each; without any batch there is none."""
    weights = [torch.nn.Parameter(torch.ones(50)) for _ in range(40)]
    optimizer = Standout(weights)
    assert optimizer.evidence(weights) == 0
    randomness = torch.Generator().manual_seed(5)
    for _ in range(24):
        for index, weight in enumerate(weights):
            weight.grad = torch.randn(50, generator=randomness) + (0.25 if index < 3 else 0.0)
        optimizer.step()

    assert optimizer.evidence(weights) == 1


def test_what_no_weight_says_for_itself_a_tensor_can_say() -> None:
    """A signal of a third of the standard error in each of ten thousand weights."""
    signal = torch.where(torch.arange(10_000) % 3 == 0, 1.0, -1.0)
    weight = torch.nn.Parameter(torch.ones(10_000))
    noise = torch.randn(48, 10_000, generator=torch.Generator().manual_seed(4))
    optimizer = gathered(weight, noise + signal / (3 * 48**0.5))

    (found,) = optimizer.directions([weight])

    assert optimizer.stands_out(weight) > 3
    assert torch.cosine_similarity(found, -signal, dim=0) > 0.1


def test_what_one_batch_alone_says_moves_nothing() -> None:
    """A row of an embedding that only one batch has seen, or a night that is one batch."""
    weight = torch.nn.Parameter(torch.ones(2, 4))
    gradients = torch.zeros(20, 2, 4)
    gradients[3, 0] = 5.0

    assert not gathered(weight, gradients).directions([weight])[0].any()
    assert not gathered(weight, gradients[3:4]).directions([weight])[0].any()


def test_a_tensor_of_zeros_can_leave_them() -> None:
    """The second half of an adapter begins there."""
    weight = torch.nn.Parameter(torch.zeros(4))
    noise = torch.randn(20, 4, generator=torch.Generator().manual_seed(2))

    (found,) = gathered(weight, 5 + noise).directions([weight])

    assert (found < -SMALLEST_SIZE).all()


def test_a_new_pass_begins_with_nothing() -> None:
    """Or the second pass would go where the first one did."""
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = gathered(weight, 5 + torch.randn(20, 4))

    optimizer.begin_anew()

    assert not optimizer.directions([weight])[0].any()


def test_asking_for_its_state_counts_no_batch() -> None:
    """Torch makes a step of its own, at a rate of 0, to find out what there is to be kept."""
    model = torch.nn.Linear(2, 2)
    optimizer = Standout(model.parameters())

    get_state_dict(model, optimizer)

    assert standout(optimizer) is optimizer
    assert [float(state["count"]) for state in optimizer.state.values()] == [0, 0]
    assert optimizer.param_groups[0]["lr"] == 1
