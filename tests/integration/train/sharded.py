"""Trains with weights and optimiser in pieces, by torch's `fully_shard`, as one of two processes on CPUs.

    torchrun --nproc_per_node 2 -m tests.integration.train.sharded DATA MODEL OUT

Accelerate's own FSDP2 wants GPUs; what it wraps the model in is this. The run is broken off after its third update and
gone on with by a learner that begins anew.
"""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from train.engine.learner import Learner
from train.engine.policy import SampledTokens, load_policy
from train.engine.resume import Keeper, Progress
from train.loop import learn
from train.plan import make_plan, read_limits
from train.publishing import gather_weights
from train.settings import TrainConfig


class Killed(BaseException):
    """Stands for a signal."""


class Mortal(Keeper):
    """Dies after it kept the third state."""

    def keep(
        self,
        learner: Learner,
        progress: Progress,
        start: list[torch.Tensor],
        best: list[torch.Tensor] | None = None,
    ) -> None:
        super().keep(learner, progress, start, best)
        if progress.position == 3:
            raise Killed


def main(data: Path, model: Path, out: Path) -> None:
    """Train twice over, and save the whole weights on the main process."""
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    config = TrainConfig(data=data, model=model, learning_rate=1e-3, epochs=2, tokens_per_batch=256, kl_budget=9)
    vocabulary_size, max_length = read_limits(model)
    plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
    for keeper in (Mortal(out / "state", 0), Keeper(out / "state", 1e9)):
        policy = load_policy(model)
        tokens = SampledTokens(policy)
        mesh = init_device_mesh("cpu", (2,))
        for layer in policy.get_decoder().layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(tokens, mesh=mesh)
        optimizer = torch.optim.AdamW(tokens.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0)
        learner = Learner(accelerator, tokens, optimizer, plan, config)
        try:
            learn(learner, lambda _: None, keeper)
        except Killed:
            continue
    weights = gather_weights(learner, policy)
    if accelerator.is_main_process:
        policy.save_pretrained(out / "model", state_dict=weights)
    accelerator.end_training()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
