"""The token critic of PPO: a linear value of the state before each sampled token, and the advantages it makes of it.

The state is what the model's last layer makes of everything before the token, without a gradient: a critic that is
wrong cannot harm the policy but by its advantages. An action is one token here and one call in
`train.credit.advantages`; between the two stands one number a call, the return credited to it, which its last token
gets. Nothing is discounted.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Linear

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

VALUE_CLIP = 0.2
"""How far a value may move in an epoch before its loss stops pulling it, in units of the return (PPO's own bound)."""

CRITIC_STEP = 0.1
"""Learning rate of the critic times the model's width. States are normalised, their entries are about 1, so under AdamW
no value moves by much more than this in an update, whatever the width."""


def make_value_head(width: int, *, dtype: torch.dtype = torch.float32) -> Linear:
    """Return a critic that values every state of a width at 0."""
    head = Linear(width, 1, dtype=dtype)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return head


def token_advantages(values: Floats, returns: Floats, lengths: Ints, *, lambda_: float) -> Floats:
    """Return the generalised advantage of each token (arXiv:1506.02438 eq. 16, discount 1), call by call.

    `values` are of the states before the tokens, those of a call together and in order; `returns` and `lengths` are of
    each call, and a length may be 0. With d = next value - value, and the call's return in place of the next value
    after its last token, the advantage is d + lambda d' + lambda^2 d'' + ... to the end of the call.

    >>> token_advantages(np.array([0.5, 0.75]), np.array([1.0]), np.array([2]), lambda_=0.5)
    array([0.375, 0.25 ])
    """
    advantages = np.zeros(len(values))
    order = np.argsort(-lengths, kind="stable")  # the calls that go on are always the first ones
    last = np.cumsum(lengths)[order] - 1
    following, carried = returns[order].astype(np.float64), np.zeros(len(lengths))
    num_going_on = np.searchsorted(-lengths[order], -np.arange(1, lengths.max(initial=0) + 1), side="right")
    for back, going_on in enumerate(num_going_on):
        places = last[:going_on] - back
        carried[:going_on] = following[:going_on] - values[places] + lambda_ * carried[:going_on]
        advantages[places] = carried[:going_on]
        following[:going_on] = values[places]
    return advantages


def value_loss(
    values: Float[Tensor, " token"], old: Float[Tensor, " token"], returns: Float[Tensor, " token"]
) -> Float[Tensor, " token"]:
    """Return half the squared error of each value, or of the value held near its old one, whichever is larger.

    PPO's clipped value loss (arXiv:2005.12729 §3): a value that is already `VALUE_CLIP` nearer to its return than at
    the epoch's beginning has no gradient.
    """
    held = old + (values - old).clamp(-VALUE_CLIP, VALUE_CLIP)
    return 0.5 * torch.maximum((values - returns) ** 2, (held - returns) ** 2)
