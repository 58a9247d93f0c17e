"""How likely a model finds what went well at tasks it is not trained on, and when that says to end."""

import math

import numpy as np
import torch

from train.engine.learner import Learner


def heldout_loss(learner: Learner) -> float:
    """Return the mean negative log-probability of the tokens of the plan's held-out calls, nats; NaN without any."""
    plan = learner.plan
    lengths = [len(plan.logged.calls[index].response_ids) for index in plan.heldout_calls]
    calls = torch.from_numpy(np.repeat(np.array(plan.heldout_calls, dtype=np.int64), lengths))
    if not len(calls):
        return math.nan
    scores = learner.score(plan.heldout)
    return -float(scores[learner.objective.positions(calls.to(scores.device))].double().mean())
