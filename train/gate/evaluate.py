"""Judges a checkpoint on held-out calls it never saw: what they would have earned under the new policy.

Off-policy estimates, one call at a time: the calls before and after are taken as the old policy made them. A ratio over
whole episodes would be worth nothing after a few hundred tokens.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from etl.schema import Split
from foundation.errors import SpanloopError
from train.credit.advantages import center
from train.data.lineage import build_sequences
from train.data.reading import Logged, read_calls, read_transitions
from train.engine.pack import collate, plan_batches
from train.engine.policy import SampledTokens, load_policy, packs
from train.losses.registry import Sampled, behavior_kl
from train.plan import read_limits
from train.schema import Manifest, read_manifest, weights_digest
from train.settings import Cluster, EvaluateConfig

Floats = NDArray[np.float64]

PRIOR_EPISODES = 4.0
"""Weight of the mean over other tasks in a task's baseline: held-out tasks are often attempted once."""


class Verdict(StrEnum):
    """What the held-out calls say of a checkpoint."""

    PASSED = "passed"
    """Better than its parent, with the confidence asked for."""

    INCONCLUSIVE = "inconclusive"
    """Neither better nor worse with that confidence, or too few calls to say."""

    REFUSED = "refused"
    """Worse, or too far from its parent to be judged."""


@dataclass(frozen=True)
class Estimate:
    """What the calls would have earned under the new policy, against what they did earn under the old one."""

    num_episodes: int
    num_calls: int
    earned: float
    """Mean outcome over calls, as logged."""

    ips: float
    """Mean of weighted outcomes: unbiased, noisy."""

    snips: float
    """The same divided by the mean weight: a little biased, much less noisy."""

    dr: float
    """Doubly robust: mean of baseline + weight (outcome - baseline), the baseline being that of the task."""

    gain: float
    """The same of new minus old: mean of (weight - 1)(outcome - baseline)."""

    gain_low: float
    gain_high: float
    """Ends of its confidence interval, from a bootstrap over whole clusters."""

    ess_share: float
    """Effective number of calls after weighting, as a share of all."""

    max_weight_share: float
    """Share of the largest weight in the sum of all."""

    kl_call: float
    """Distance of the new policy from the one that acted, nats a call."""

    nll: float | None
    """Negative log-likelihood of the calls that went better than their baseline, nats a token; null without any."""

    nll_before: float | None
    """The same under the policy that acted."""


def estimate(
    log_ratio: Floats,
    kl: Floats,
    outcomes: Floats,
    episode: NDArray[np.int64],
    task: NDArray[np.int64],
    *,
    cluster: NDArray[np.int64],
    logprob: Floats,
    num_tokens: NDArray[np.int64],
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> Estimate:
    """Estimate the gain of a policy from logged calls.

    `log_ratio` is log(pi / mu) of each call's whole action, `kl` its summed divergence, `episode` the index of its
    episode; `outcomes` and `task` are of each episode. `cluster` says which calls go together in the bootstrap,
    `logprob` and `num_tokens` are log mu and length of each call's action. There must be at least one call.
    """
    weight = np.exp(log_ratio)
    baseline_free = center(
        outcomes,
        episode=np.arange(len(outcomes)),
        slot=np.zeros(len(outcomes), dtype=np.int64),
        task=task,
        shrinkage=PRIOR_EPISODES,
    )
    earned = outcomes[episode]
    gains = (weight - 1) * baseline_free[episode]
    low, high = bootstrap_mean(gains, cluster, confidence=confidence, resamples=resamples, rng=rng)
    good = baseline_free[episode] > 0
    good_tokens = int(num_tokens[good].sum())
    return Estimate(
        num_episodes=len(np.unique(episode)),
        num_calls=len(weight),
        earned=float(earned.mean()),
        ips=float((weight * earned).mean()),
        snips=float((weight * earned).sum() / weight.sum()),
        dr=float((earned + gains).mean()),
        gain=float(gains.mean()),
        gain_low=low,
        gain_high=high,
        ess_share=float(weight.sum() ** 2 / (weight**2).sum() / len(weight)),
        max_weight_share=float(weight.max() / weight.sum()),
        kl_call=float(kl.mean()),
        nll=float(-(logprob + log_ratio)[good].sum() / good_tokens) if good_tokens else None,
        nll_before=float(-logprob[good].sum() / good_tokens) if good_tokens else None,
    )


def bootstrap_mean(
    values: Floats, cluster: NDArray[np.int64], *, confidence: float, resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the percentile interval of a mean, resampling whole clusters: values of one cluster go together."""
    _, index = np.unique(cluster, return_inverse=True)
    sums, sizes = np.bincount(index, values), np.bincount(index).astype(np.float64)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples)  # (resample, cluster)
    means = drawn @ sums / (drawn @ sizes)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def judge(found: Estimate | None, config: EvaluateConfig) -> tuple[Verdict, str]:
    """Return the verdict on an estimate, and why."""
    if found is None:
        return Verdict.INCONCLUSIVE, "no held-out call was sampled by the parent and rewarded"
    if found.kl_call > config.max_kl:
        return Verdict.REFUSED, f"{found.kl_call:.2f} nats a call from its parent, {config.max_kl} at most (max_kl)"
    if found.ess_share < config.min_ess:
        return Verdict.REFUSED, f"effective share of calls {found.ess_share:.2f}, {config.min_ess} at least (min_ess)"
    if found.nll is not None and found.nll_before is not None and found.nll > found.nll_before + config.max_nll_rise:
        change = f"{found.nll_before:.3f} to {found.nll:.3f} nats a token"
        return (
            Verdict.REFUSED,
            f"what went well became less likely: {change}, {config.max_nll_rise} at most (max_nll_rise)",
        )
    interval = f"gain {found.gain:+.4f} in [{found.gain_low:+.4f}, {found.gain_high:+.4f}]"
    if found.num_episodes < config.min_episodes:
        return (
            Verdict.INCONCLUSIVE,
            f"{found.num_episodes} held-out episodes, {config.min_episodes} at least (min_episodes); {interval}",
        )
    if found.gain_high < 0:
        return Verdict.REFUSED, f"worse than its parent: {interval}"
    return (Verdict.PASSED if found.gain_low > 0 else Verdict.INCONCLUSIVE), interval


def evaluate(config: EvaluateConfig) -> tuple[Manifest, dict[str, Any]]:
    """Return a checkpoint's manifest and the report of its gate; nothing is written."""
    manifest = read_manifest(config.checkpoint)
    digest = weights_digest(config.checkpoint)
    if digest != manifest.weights_digest:
        raise SpanloopError(
            f"the weights in {config.checkpoint} are not those of its manifest",
            hint="The directory was changed or damaged after it was written; train again.",
        )
    vocabulary_size, max_length = read_limits(config.checkpoint)
    rows = read_transitions(config.data, Split.HELDOUT)
    # The parent may be no checkpoint of ours, served under any name; then distance and effective share decide.
    is_named = manifest.parent in set(rows["policy_version"].drop_nulls().unique())
    logged = read_calls(
        rows,
        vocabulary_size=vocabulary_size,
        max_length=max_length,
        policies=frozenset([manifest.parent]) if is_named and manifest.parent is not None else None,
    )
    found = _estimate_logged(logged, config)
    verdict, reason = judge(found, config)
    passed = verdict is Verdict.PASSED or (verdict is Verdict.INCONCLUSIVE and config.accept_inconclusive)
    return manifest, {
        "verdict": verdict.value,
        "passed": passed,
        "reason": reason,
        "weights_digest": digest,
        "evaluated_time": datetime.now(UTC).isoformat(),
        "estimate": None if found is None else asdict(found),
        "set_aside": logged.count_set_aside(),
        "settings": config.model_dump(mode="json"),
    }


def _estimate_logged(logged: Logged, config: EvaluateConfig) -> Estimate | None:
    judged = np.flatnonzero([call.set_aside is None for call in logged.calls])
    if not len(judged):
        return None
    log_ratio, kl = _score(logged, config)
    episodes, episode = np.unique([logged.calls[index].episode for index in judged], return_inverse=True)
    names = [logged.episodes[index].task for index in episodes]
    return estimate(
        log_ratio[judged],
        kl[judged],
        np.array([logged.episodes[index].outcome for index in episodes]),
        episode,
        np.unique(names, return_inverse=True)[1],
        cluster=cluster_calls([logged.calls[index].episode for index in judged], logged, config.cluster),
        logprob=np.array([logged.calls[index].behavior_logprobs.sum(dtype=np.float64) for index in judged]),
        num_tokens=np.array([len(logged.calls[index].response_ids) for index in judged]),
        confidence=config.confidence,
        resamples=config.resamples,
        rng=np.random.default_rng(config.seed),
    )


def cluster_calls(episodes: list[int], logged: Logged, by: Cluster) -> NDArray[np.int64]:
    """Return for each call, given by its episode, the number of what it is resampled with.

    An episode without a user is one by itself.
    """
    if by == "episode":
        return np.array(episodes, dtype=np.int64)
    chosen = [logged.episodes[index] for index in episodes]
    if by == "task":
        names = [episode.task for episode in chosen]
    else:
        pairs = zip(episodes, chosen, strict=True)
        names = [f"episode {index}" if each.user is None else f"user {each.user}" for index, each in pairs]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


@torch.no_grad()
def _score(logged: Logged, config: EvaluateConfig) -> tuple[Floats, Floats]:
    """Return log(pi / mu) and the divergence of every call, summed over its tokens; 0 for calls that are set aside."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokens = SampledTokens(load_policy(config.checkpoint).to(device))
    sequences = build_sequences(logged.calls)
    temperature = np.array([call.temperature for call in logged.calls])
    log_ratio, kl = np.zeros(len(logged.calls)), np.zeros(len(logged.calls))
    budget = config.tokens_per_batch if packs(tokens.policy) else 1
    for members in plan_batches([len(sequence.ids) for sequence in sequences], budget):
        batch = collate(
            [sequences[member] for member in members], temperature, np.zeros(len(temperature)), device=device
        )
        logprobs, _, _ = tokens(*batch.inputs)
        sampled = Sampled(logprobs, batch.behavior_logprobs, batch.advantages)
        calls = batch.calls.cpu().numpy()
        np.add.at(log_ratio, calls, sampled.log_ratio().double().cpu().numpy())
        np.add.at(kl, calls, behavior_kl(sampled).double().cpu().numpy())
    return log_ratio, kl
