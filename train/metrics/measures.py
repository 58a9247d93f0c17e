"""What is measured of an update: pure functions from its tokens, episodes and costs to named numbers."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from train.losses.divergence import behavior_kl
from train.losses.registry import TokenLoss
from train.losses.sampled import Sampled

ROWS = ("loss", "log_ratio", "kl", "is_clipped", "entropy", "advantage")
"""What is kept of every trained token."""

CRITIC_ROWS = ("value_loss", "value", "return")
"""And, below these, with a token critic."""

UNNAMED = "unnamed"
"""In a metric's name, for calls of agents without one."""

METRICS: Mapping[str, str] = {
    "loss": "sum of token losses over the update's denominator",
    "ratio_mean": "mean ratio of a token's probability to that under the policy that sampled it; near 1",
    "ratio_min": "smallest ratio",
    "ratio_max": "largest ratio",
    "log_ratio_abs": "mean absolute log-ratio, nats a token",
    "log_ratio_p01": "1st percentile of the log-ratio",
    "log_ratio_p50": "median of the log-ratio",
    "log_ratio_p99": "99th percentile of the log-ratio",
    "ess_share": "effective share of tokens after weighting by their ratios: (sum r)^2 / (n sum r^2)",
    "kl": "divergence from the policy that sampled, smaller of k2 and k3, nats a token",
    "kl_k1": "the same by the estimator k1, minus the mean log-ratio; can be negative",
    "kl_k3": "the same by the estimator k3",
    "kl_call": "divergence from where the run began at the next check, nats a call, on the yardstick of the KL budget",
    "kept_share": "how much of the way since the last check was kept, where it led beyond the pace",
    "clip_fraction": "share of tokens whose ratio met a bound",
    "clip_low_fraction": "share of tokens held at the lower bound",
    "clip_high_fraction": "share of tokens held at the upper bound",
    "entropy": "mean entropy of the distributions that trained tokens were sampled from, nats",
    "advantage_mean": "mean advantage of a token",
    "advantage_std": "its standard deviation",
    "advantage_min": "smallest advantage",
    "advantage_max": "largest advantage",
    "advantage_abs": "mean absolute advantage",
    "advantage_zero_fraction": "share of tokens with advantage 0",
    "grad_norm": "norm of the gradient before it was clipped",
    "weight_norm": "norm of the trained weights after the update",
    "learning_rate": "learning rate",
    "reward": "mean outcome of the update's episodes",
    "reward_std": "standard deviation of the outcomes",
    "reward/ROLE": "mean outcome of the update's episodes a role took part in; one metric a role",
    "intermediate/ROLE": "mean intermediate reward of a role's calls, trained or not; one metric a role",
    "staleness/LAG": "share of the trained calls sampled LAG versions before this model, or `unknown`; one metric each",
    "value_explained": "share of the variance of the calls' returns that their values explain, under baseline `value`",
    "value_loss": "sum of the token critic's losses over the update's denominator",
    "token_value_explained": "share of the variance of the calls' returns, over tokens, that the token critic explains",
    "num_episodes": "episodes in the update",
    "num_calls": "calls trained",
    "num_tokens": "tokens trained",
    "num_forward_tokens": "tokens of the forward passes: trained ones and their context, what sequences share once",
    "num_batches": "forward passes of all processes",
    "longest": "tokens of the longest sequence",
    "tokens_per_s": "tokens trained a second",
    "forward_tokens_per_s": "tokens of forward passes a second",
    "flops_per_s": "floating-point operations a second that the model needs, recomputation not counted",
    "mfu": "the same as a share of what the devices can do in bfloat16; only for devices we know",
    "memory_bytes": "most device memory of one process so far; only on a GPU",
    "duration_s": "seconds of the update",
    "forward_s": "of these, in forward passes and losses",
    "backward_s": "of these, in backward passes",
    "step_s": "of these, in clipping the gradient and the optimiser's step",
    "score_s": "of these, in scoring what calls are held against; only for `dpo` and `kto`",
}
"""Every metric of a line of `metrics.jsonl` beside `update` and `epoch`, and its meaning; capitals stand for names."""


def is_metric(name: str) -> bool:
    """Tell whether a name is that of a metric.

    >>> is_metric("reward"), is_metric("reward/planner"), is_metric("update")
    (True, True, False)
    """
    family, slash, _ = name.partition("/")
    return any(known == name or (slash and known.startswith(family + slash)) for known in METRICS)


@torch.no_grad()
def keep_tokens(
    sampled: Sampled, token: TokenLoss, entropies: Tensor, value_losses: Tensor | None = None
) -> Float[Tensor, "row token"]:
    """Return what `ROWS` names of the tokens of a micro-batch, and `CRITIC_ROWS` where the critic has losses."""
    rows = [token.loss, sampled.log_ratio(), behavior_kl(sampled), token.is_clipped, entropies, sampled.advantages]
    if value_losses is not None:
        assert sampled.values is not None
        assert sampled.returns is not None
        rows += [value_losses, sampled.values, sampled.returns]
    return torch.stack([row.detach().double() for row in rows])


def gather_tokens(
    kept: list[Tensor], accelerator: Accelerator, *, num_rows: int = len(ROWS)
) -> Float[Tensor, "row token"]:
    """Join the tokens of all micro-batches and processes."""
    mine = torch.cat(kept, dim=1) if kept else torch.zeros(num_rows, 0, dtype=torch.float64)
    mine = mine.to(accelerator.device)
    if accelerator.num_processes > 1:
        # Processes have unequally many tokens: they are padded to the longest with what no token has, a NaN.
        mine = accelerator.gather(accelerator.pad_across_processes(mine.T.contiguous(), pad_index=float("nan"))).T
    return mine[:, ~mine[0].isnan()].cpu()


def describe_tokens(table: Float[Tensor, "row token"], *, denominator: float) -> dict[str, float]:
    """Return the metrics of an update's tokens; all zero but their number when there is none.

    >>> table = torch.tensor([[1.0, 3.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [2.0, 4.0], [1.0, -1.0]])
    >>> found = describe_tokens(table, denominator=8.0)
    >>> found["loss"], found["ratio_mean"], found["clip_fraction"], found["entropy"], found["advantage_std"]
    (0.5, 1.0, 0.5, 3.0, 1.0)
    """
    if not table.shape[1]:
        table = torch.zeros(len(ROWS), 1)
    loss, log_ratio, kl, is_clipped, entropy, advantage = table[: len(ROWS)]
    ratio = log_ratio.exp()
    quantiles = np.quantile(log_ratio.numpy(), [0.01, 0.5, 0.99])
    values = {
        "loss": loss.sum() / denominator,
        "ratio_mean": ratio.mean(),
        "ratio_min": ratio.min(),
        "ratio_max": ratio.max(),
        "log_ratio_abs": log_ratio.abs().mean(),
        "ess_share": ratio.sum() ** 2 / (ratio**2).sum() / len(ratio),
        "kl": kl.mean(),
        "kl_k1": -log_ratio.mean(),
        "kl_k3": (ratio - 1 - log_ratio).mean(),
        "clip_fraction": is_clipped.mean(),
        "clip_low_fraction": (is_clipped * (log_ratio < 0)).mean(),
        "clip_high_fraction": (is_clipped * (log_ratio > 0)).mean(),
        "entropy": entropy.mean(),
        "advantage_mean": advantage.mean(),
        "advantage_std": advantage.std(correction=0),
        "advantage_min": advantage.min(),
        "advantage_max": advantage.max(),
        "advantage_abs": advantage.abs().mean(),
        "advantage_zero_fraction": (advantage == 0).double().mean(),
    }
    named = dict(zip(("log_ratio_p01", "log_ratio_p50", "log_ratio_p99"), quantiles.tolist(), strict=True))
    return {name: float(value) for name, value in values.items()} | named


def describe_critic(table: Float[Tensor, "row token"], *, denominator: float) -> dict[str, float]:
    """Return the metrics of the token critic, from a table that has its rows; nothing from another.

    >>> table = torch.zeros(len(ROWS) + len(CRITIC_ROWS), 2)
    >>> table[len(ROWS) :] = torch.tensor([[1.0, 3.0], [0.25, 0.75], [0.0, 1.0]])
    >>> describe_critic(table, denominator=8.0)
    {'value_loss': 0.5, 'token_value_explained': 0.75}
    """
    if len(table) == len(ROWS):
        return {}
    loss, values, returns = table[len(ROWS) :]
    explained = describe_values(values.numpy(), returns.numpy())
    return {"value_loss": float(loss.sum() / denominator)} | {
        f"token_{name}": share for name, share in explained.items()
    }


def describe_rewards(outcomes: NDArray[np.float64]) -> dict[str, float]:
    """Return the metrics of the outcomes of an update's episodes.

    >>> describe_rewards(np.array([0.0, 1.0]))
    {'reward': 0.5, 'reward_std': 0.5, 'num_episodes': 2}
    """
    return {"reward": float(outcomes.mean()), "reward_std": float(outcomes.std()), "num_episodes": len(outcomes)}


def describe_roles(
    agents: Sequence[str], intermediate: NDArray[np.float64], outcomes: NDArray[np.float64], episode: NDArray[np.int64]
) -> dict[str, float]:
    """Return the rewards of each role; all arguments are of each call, `outcomes` those of its episode.

    An episode counts once for a role, however many calls the role made in it; one without an outcome does not.

    >>> describe_roles(["a", "a", "b"], np.array([0.1, 0.3, 0.0]), np.array([1.0, 1.0, 0.0]), np.array([0, 0, 1]))
    {'reward/a': 1.0, 'intermediate/a': 0.2, 'reward/b': 0.0, 'intermediate/b': 0.0}
    """
    names = np.array(agents, dtype=object)
    found: dict[str, float] = {}
    for agent in sorted(set(agents)):
        mine = names == agent
        _, first = np.unique(episode[mine], return_index=True)
        rewarded = outcomes[mine][first]
        rewarded = rewarded[np.isfinite(rewarded)]
        if len(rewarded):
            found[f"reward/{agent or UNNAMED}"] = float(rewarded.mean())
        found[f"intermediate/{agent or UNNAMED}"] = float(intermediate[mine].mean())
    return found


def describe_staleness(lags: Sequence[int | None]) -> dict[str, float]:
    """Return which share of the calls was sampled how many versions ago.

    >>> describe_staleness([0, 0, 1, None])
    {'staleness/0': 0.5, 'staleness/1': 0.25, 'staleness/unknown': 0.25}
    """
    names = ["unknown" if lag is None else str(lag) for lag in lags]
    order = sorted(set(names), key=lambda name: (name == "unknown", name.zfill(9)))
    return {f"staleness/{name}": names.count(name) / len(names) for name in order}


def describe_values(values: NDArray[np.float64], returns: NDArray[np.float64]) -> dict[str, float]:
    """Return the explained variance, 1 - Var(return - value) / Var(return); nothing where returns do not vary.

    Calls without a value (NaN) do not count. Below 0 the values are worse than the mean.

    >>> describe_values(np.array([0.5, 0.5, 0.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0]))
    {'value_explained': 0.75}
    """
    known = np.isfinite(values) & np.isfinite(returns)
    spread = float(returns[known].var()) if known.any() else 0.0
    if spread <= 0:
        return {}
    return {"value_explained": 1 - float((returns[known] - values[known]).var()) / spread}
