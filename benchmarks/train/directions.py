"""How much of a night's signal a direction of the weights holds: judged by the part of the night it was not made of.

    OMP_NUM_THREADS=1 python -m benchmarks.train.directions --tasks taste context sound demo

The gradients of 48 batches of one night are kept. A direction is made of three quarters of them and multiplied with
each of the others; over four such folds the mean of these products, over its standard error, is what is printed: to
first order what success rises by, for the root of a divergence. So directions are compared for seconds each, where a
night and its 1,024 answers take minutes.

- `weights`: each weight by its own t, shrunk by 1 - 6 / t^2
- `tensors`: what the trainer does, `train/engine/standout.py`
- `plain`: the mean gradient, each tensor times its size
- `regression`: batches weighed by a ridge regression on their gradients, tensors by how they stand out: a second pass
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from benchmarks.train import nights, tasks
from tests.logged import publish
from train.engine.standout import NUM_BATCHES, SMALLEST_SIZE, Standout
from train.equipment import make_learner, open_policy
from train.loop import keep_together
from train.plan import make_plan, read_limits
from train.settings import TrainConfig

FOLDS = 4
RIDGE = 0.3
Gradients = list[torch.Tensor]


def gradients(data: Path, model: Path) -> tuple[list[Gradients], Gradients]:
    """Return the gradient of each batch of a night, and the weights, tensor by tensor."""
    config = TrainConfig(data=data, model=model)
    vocabulary_size, max_length = read_limits(model)
    plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
    accelerator = Accelerator(cpu=True)
    learner = make_learner(accelerator, open_policy(config, accelerator), plan, config)
    learner.prepare()
    episodes = plan.episode_sequences()
    units = keep_together(plan, episodes, most=len(episodes))
    np.random.default_rng(0).shuffle(units)  # type: ignore[arg-type]
    found = []
    for begin in range(NUM_BATCHES):
        chosen = [
            plan.sequences[one] for unit in units[begin::NUM_BATCHES] for index in unit for one in episodes[index]
        ]
        total = [torch.zeros_like(weight) for weight in learner.weights]
        for batch, _ in learner.share(chosen):
            sampled, _ = learner.sample(batch)
            parts = torch.autograd.grad(learner.objective.losses(sampled).loss.sum(), learner.weights)
            total = [one + part for one, part in zip(total, parts, strict=True)]
        found.append(total)
    return found, [weight.detach() for weight in learner.weights]


def directions(batches: list[Gradients], weights: Gradients) -> dict[str, Gradients]:
    """Return what is made of some batches, by name."""
    parameters = [torch.nn.Parameter(weight.clone()) for weight in weights]
    optimizer = Standout(parameters)
    for batch in batches:
        for parameter, gradient in zip(parameters, batch, strict=True):
            parameter.grad = gradient
        optimizer.step()
    sizes = [max(float(weight.square().mean()) ** 0.5, SMALLEST_SIZE) for weight in weights]
    stacked = [torch.stack(tensor) for tensor in zip(*batches, strict=True)]
    alone, plain = [], []
    for each, size in zip(stacked, sizes, strict=True):
        mean, error = each.mean(0), each.std(0) / len(batches) ** 0.5
        t = mean / (error + 0.1 * error[error > 0].mean() + 1e-30)
        alone.append(-t * (1 - 6 / t.square().clamp(min=1e-9)).clamp(min=0) * size)
        plain.append(-mean * size**2)
    factors = [size * max(0.0, optimizer.stands_out(one) - 1) ** 2 for one, size in zip(parameters, sizes, strict=True)]
    gram = sum(factor * each.flatten(1) @ each.flatten(1).T for factor, each in zip(factors, stacked, strict=True))
    assert isinstance(gram, torch.Tensor)
    penalty = RIDGE * gram.trace() / len(batches) * torch.eye(len(batches))
    shares = torch.linalg.solve(gram + penalty, torch.ones(len(batches)))
    regression = [-factor * torch.tensordot(shares, each, 1) for factor, each in zip(factors, stacked, strict=True)]
    tensors = optimizer.directions(parameters)  # last: it takes the place of the sums
    return {"weights": alone, "tensors": tensors, "plain": plain, "regression": regression}


def judge(batches: list[Gradients], weights: Gradients) -> dict[str, float]:
    """Return for each kind of direction how it does on batches it was not made of."""
    products = dict[str, list[NDArray[np.float64]]]()
    for fold in range(FOLDS):
        others = [batch for index, batch in enumerate(batches) if index % FOLDS != fold]
        for name, direction in directions(others, weights).items():
            came = [
                -sum(float((one * way).sum()) for one, way in zip(batch, direction, strict=True))
                for batch in batches[fold::FOLDS]
            ]
            products.setdefault(name, []).append(np.array(came) / np.sqrt(np.mean(np.square(came))))
    joined = {name: np.concatenate(each) for name, each in products.items()}
    return {name: float(each.mean() / each.std() * len(each) ** 0.5) for name, each in joined.items()}


def main() -> None:
    """Read the command line and judge directions on each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tasks", nargs="+", choices=[*tasks.TASKS, "demo"], default=["taste", "context", "sound", "demo"]
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", type=Path, default=tasks.EXAMPLE / "policy")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.tasks:
        with tempfile.TemporaryDirectory() as directory:
            data = Path(directory) / "data"
            if name == "demo":
                problems = [each for each in nights.generate(240, split="train", seed=arguments.seed) for _ in range(2)]
                publish(data, nights.collect(arguments.model, problems, split="train", seed=arguments.seed))
            else:
                tasks.log_night(name, arguments.model, data, episodes=768, seed=arguments.seed, sampling={})
            found = judge(*gradients(data, arguments.model))
        print(f"{name:8}", *(f"{kind} {value:.2f}" for kind, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
