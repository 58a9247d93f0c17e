"""From an estimate to a verdict: refused only where evidence is against a checkpoint, and a way out that is true."""

import math
from dataclasses import dataclass
from enum import StrEnum

from train.gate.estimate import Estimate
from train.settings import EvaluateConfig


class Verdict(StrEnum):
    """What the held-out calls say of a checkpoint."""

    PASSED = "passed"
    """Better than what it is compared with, at the confidence asked for."""

    INCONCLUSIVE = "inconclusive"
    """Neither better nor worse at that confidence, or too little to say: a canary can settle it."""

    REFUSED = "refused"
    """Worse, or no numbers at all."""


@dataclass(frozen=True)
class Judgement:
    """A verdict, why, and what would change it."""

    verdict: Verdict
    reason: str
    hint: str | None = None


@dataclass(frozen=True)
class Likelihood:
    """How likely the good held-out calls are that are known as text, or without a ratio: all that can be said there."""

    num_calls: int
    nll: float
    """Nats a token under the checkpoint."""

    nll_before: float
    """The same under the model it is compared with."""


CANARY = "`spanloop serve canary` tries it on a share of the calls"


def judge(found: Estimate | Likelihood | None, config: EvaluateConfig, *, set_aside: dict[str, int]) -> Judgement:
    """Return the judgement on what was found; `set_aside` counts the held-out calls that could not be used."""
    if found is None:
        return Judgement(
            Verdict.INCONCLUSIVE, f"no held-out call can be judged by ({_listed(set_aside)})", _way_out(set_aside)
        )
    if not all(math.isfinite(value) for value in _numbers(found)):
        return Judgement(
            Verdict.REFUSED,
            "the checkpoint gives log-probabilities that are no numbers",
            "Its weights are broken: train again, with a smaller --learning-rate.",
        )
    if (
        found.nll is not None
        and found.nll_before is not None
        and not found.nll <= found.nll_before + config.max_nll_rise
    ):
        return Judgement(
            Verdict.REFUSED,
            f"what went well became less likely: {found.nll_before:.3f} to {found.nll:.3f} nats a token, "
            f"{config.max_nll_rise} more at most (max_nll_rise)",
            "Train again closer to the start: a smaller --kl-budget or --learning-rate, fewer --epochs.",
        )
    if isinstance(found, Likelihood):
        return Judgement(
            Verdict.INCONCLUSIVE,
            f"held-out calls are known without log-probabilities: what went well went from {found.nll_before:.3f} to "
            f"{found.nll:.3f} nats a token in {found.num_calls} calls, which says nothing of rewards",
            f"`spanloop replay --candidate CHECKPOINT --gate` asks logged states anew and judges by that; {CANARY}; "
            "calls made through the gateway carry the log-probabilities an estimate needs.",
        )
    return _judge_gain(found, config)


def _judge_gain(found: Estimate, config: EvaluateConfig) -> Judgement:
    interval = f"gain {found.gain:+.4f} an episode in [{found.gain_low:+.4f}, {found.gain_high:+.4f}]"
    if not found.num_episodes >= config.min_episodes:
        return Judgement(
            Verdict.INCONCLUSIVE,
            f"{found.num_episodes} held-out episodes, {config.min_episodes} at least (min_episodes); {interval}",
            f"{CANARY}; more held-out episodes come with more traffic, or a larger --holdout of `spanloop etl run`.",
        )
    if not found.ess_share >= config.min_ess:
        return _too_far(
            f"effective share of calls {found.ess_share:.2f}, {config.min_ess} at least (min_ess)", interval
        )
    if not found.kl_call <= config.max_kl:
        return _too_far(f"{found.kl_call:.2f} nats a call away, {config.max_kl} at most (max_kl)", interval)
    if found.gain_high < 0:
        return Judgement(
            Verdict.REFUSED,
            f"worse than what it is compared with: {interval}",
            "What is live stays. Train on more episodes, or with another --recipe; the same data and settings give the "
            "same checkpoint.",
        )
    if found.gain_low > 0:
        return Judgement(Verdict.PASSED, interval)
    return Judgement(Verdict.INCONCLUSIVE, interval, _more_episodes(found))


def _too_far(what: str, interval: str) -> Judgement:
    return Judgement(
        Verdict.INCONCLUSIVE,
        f"too far from what acted to be judged by its calls: {what}; {interval}",
        f"{CANARY}; a smaller --kl-budget of `spanloop train run` stays where the calls can tell.",
    )


def _more_episodes(found: Estimate) -> str:
    """Say how many episodes would tell a gain of the size that was estimated: the width falls with their root."""
    half = (found.gain_high - found.gain_low) / 2
    if not (abs(found.gain) > 0 and math.isfinite(half)):
        return f"{CANARY}; on these calls it acts like what it is compared with."
    needed = found.num_episodes * (half / abs(found.gain)) ** 2
    wanted = f"about {needed:.0f} held-out episodes" if needed < 100_000 else "more held-out episodes than are worth it"
    return f"{CANARY}; {wanted} would tell a difference of {abs(found.gain):.4f}, there are {found.num_episodes}."


def _way_out(set_aside: dict[str, int]) -> str:
    if not set_aside:
        return (
            f"{CANARY}. The dataset holds no held-out call: more traffic brings some, or a larger --holdout of "
            "`spanloop etl run`."
        )
    largest = max(set_aside, key=lambda reason: set_aside[reason])
    told = {
        "no_outcome": "rewards are missing: give them with otel_exporter.reward(value) or POST /v1/rewards",
        "other_agent": "they are other agents' calls than those it was trained on",
        "other_prompt": "they were made under other versions of the agents' prompts than those in force",
        "other_policy": "they were sampled by other models than the one it is compared with (--against)",
    }
    why = told.get(largest, f"they were set aside as {largest}, which docs/training.md explains")
    return f"{CANARY}. Of most held-out calls: {why}."


def _listed(set_aside: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in set_aside.items()) or "there is none"


def _numbers(found: Estimate | Likelihood) -> list[float]:
    """Return the numbers a verdict rests on; the ends of an interval may be infinite, which says nothing is known."""
    if isinstance(found, Likelihood):
        return [found.nll, found.nll_before]
    given = [found.gain, found.ess_share, found.kl_call, found.nll, found.nll_before]
    return [value for value in given if value is not None]
