"""What the trained tokens of a run are for: the streams a loss sees beside the policy's own, and the loss itself."""

import torch
from jaxtyping import Float
from torch import Tensor

from train.losses import BOUNDS, LOSSES, Bounds, Sampled, TokenLoss, behavior_kl
from train.pack import MicroBatch
from train.plan import Plan
from train.settings import TrainConfig


class Objective:
    """The objective of one run. The loop asks it for `sampled` tokens of a micro-batch and for their `losses`."""

    def __init__(self, plan: Plan, config: TrainConfig, *, device: torch.device) -> None:
        self._plan = plan
        self._config = config
        self._device = device

    def sampled(self, policy_logprobs: Float[Tensor, " token"], batch: MicroBatch) -> Sampled:
        """Return the sampled tokens of a micro-batch, every stream filled in."""
        return Sampled(policy_logprobs, batch.behavior_logprobs, batch.advantages)

    def losses(self, sampled: Sampled) -> TokenLoss:
        """Return the loss of each token as the settings say, and whether a clip held it."""
        config = self._config
        usual = BOUNDS[config.loss]
        bounds = Bounds(
            usual.clip_low if config.clip_low is None else config.clip_low,
            usual.clip_high if config.clip_high is None else config.clip_high,
            config.dual_clip,
        )
        result = LOSSES[config.loss](sampled, bounds)
        if not config.behavior_kl:
            return result
        return TokenLoss(result.loss + config.behavior_kl * behavior_kl(sampled), result.is_clipped)
