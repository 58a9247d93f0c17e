"""From logged episodes to one advantage a call, as the settings say: rewards, baseline, scale."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.credit.advantages import (
    bootstrapped_returns,
    call_advantages,
    cap_intermediate,
    causal_returns,
    gate_intermediate,
    moving_baseline,
    outcome_advantages,
    overlong_penalty,
    scale_by_role,
)
from train.credit.causes import previous_calls
from train.credit.value import add_other_attempts, call_features, cross_fit, deal_folds, folds_are_tasks
from train.data.logged import Logged
from train.settings import TrainConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROLE_DECAY = 0.95
"""Of the moving average of a role."""


@dataclass(frozen=True)
class Credit:
    """What every call earned."""

    advantages: Floats
    """Of each call; 0 for the calls of episodes nobody rewarded."""

    facts: dict[str, Any] = field(default_factory=dict)
    """For the report."""

    values: Floats | None = None
    """What each call could expect, and below what came; NaN for calls of episodes nobody rewarded. Null where the
    baseline is no value."""

    returns: Floats | None = None

    targets: Floats | None = None
    """The return that each advantage is of, before baseline and scale; NaN for calls of episodes nobody rewarded."""


def credit_calls(logged: Logged, config: TrainConfig) -> Credit:
    """Credit every call of a rewarded episode.

    Calls that are not trained take part all the same: what they earned belongs to the calls before them.
    """
    advantages = np.zeros(len(logged.calls))
    outcomes = np.array([episode.outcome for episode in logged.episodes])
    rewarded = np.isfinite(outcomes)
    counted = np.array([rewarded[call.episode] for call in logged.calls], dtype=bool)
    if not counted.any():
        return Credit(advantages)
    window = _Window.of(logged, rewarded, counted, config)
    found = window.credit(config)
    credited = found.advantages
    if config.scale == "role_std":
        credited = scale_by_role(credited, window.role)
    advantages[counted] = credited

    def of_all(values: Floats | None) -> Floats | None:
        if values is None:
            return None
        spread = np.full(len(counted), np.nan)
        spread[counted] = values
        return spread

    facts = {"credit": config.credit, "baseline": config.baseline} | found.facts
    return Credit(advantages, facts, of_all(found.values), of_all(found.returns), of_all(found.targets))


def _middle(outcomes: Floats) -> float:
    """Return the middle between lowest and highest outcome; 0 where all are alike, so that what was rewarded counts.

    >>> _middle(np.array([0.0, 0.2, 1.0])), _middle(np.array([1.0, 1.0]))
    (0.5, 0.0)
    """
    spread = float(np.ptp(outcomes))
    return float(outcomes.min() + spread / 2) if spread > 0 else 0.0


def _number(names: Iterable[Hashable]) -> Ints:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


@dataclass(frozen=True)
class _Window:
    """The rewarded episodes and their calls as arrays: `outcomes` and `task` of each episode, the rest of each call."""

    logged: Logged
    counted: NDArray[np.bool_]
    outcomes: Floats
    task: Ints
    episode: Ints
    role: Ints
    slot: Ints
    start_ns: Ints
    end_ns: Ints
    previous: Ints
    """The call its agent made before, `NOBODY` for none."""

    intermediate: Floats

    @classmethod
    def of(
        cls, logged: Logged, rewarded: NDArray[np.bool_], counted: NDArray[np.bool_], config: TrainConfig
    ) -> "_Window":
        calls = [call for call, counts in zip(logged.calls, counted, strict=True) if counts]
        outcomes = np.array([episode.outcome for episode in logged.episodes])[rewarded]
        task = _number(episode.task for episode, counts in zip(logged.episodes, rewarded, strict=True) if counts)
        episode = (np.cumsum(rewarded) - 1)[np.array([call.episode for call in calls])]
        earned = config.air * np.array([call.intermediate for call in calls])
        if config.overlong_tokens is not None:
            lengths = np.array([len(call.response_ids) * (call.set_aside is None) for call in calls])
            earned += overlong_penalty(lengths, limit=config.overlong_tokens, share=config.overlong_share)
        if config.air_gate == "outcome":
            earned = gate_intermediate(earned, episode=episode, outcomes=outcomes, task=task)
        role = _number(call.agent for call in calls)
        start_ns = np.array([call.start_ns for call in calls])
        end_ns = np.array([call.end_ns for call in calls])
        ids, following = [call.span_id for call in calls], [call.next_span_id for call in calls]
        return cls(
            logged,
            counted,
            outcomes,
            task,
            episode,
            role=role,
            slot=_number((call.agent, call.turn) for call in calls),
            start_ns=start_ns,
            end_ns=end_ns,
            previous=previous_calls(ids, following, role, episode, start_ns, end_ns),
            intermediate=cap_intermediate(earned, episode=episode, outcomes=outcomes, share=config.air_cap),
        )

    def credit(self, config: TrainConfig) -> Credit:
        """Return the credit of the window's calls."""
        if config.baseline == "value":
            return self._against_values(config)
        returns = self._returns(config)
        if config.baseline in ("leave_one_out", "group_mean"):
            return Credit(self._against_group(config), targets=returns)
        if config.baseline == "none":
            return Credit(returns, targets=returns)
        if config.baseline == "midrange":
            return Credit(returns - _middle(self.outcomes), targets=returns)
        baseline = moving_baseline(
            returns, role=self.role, episode=self.episode, start_ns=self.start_ns, decay=ROLE_DECAY
        )
        return Credit(np.nan_to_num(returns - baseline, nan=0.0), targets=returns)

    def _returns(self, config: TrainConfig) -> Floats:
        if config.credit == "identical":
            return self.outcomes[self.episode]
        return self.outcomes[self.episode] + causal_returns(
            self.intermediate,
            episode=self.episode,
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            previous=self.previous,
        )

    def _against_group(self, config: TrainConfig) -> Floats:
        leave_one_out, divide = config.baseline == "leave_one_out", config.scale == "group_std"
        shrinkage = config.shrinkage if leave_one_out else 0.0  # the mean of the group is that of the group alone
        if config.credit == "identical":
            return outcome_advantages(
                self.outcomes,
                self.task,
                leave_one_out=leave_one_out,
                shrinkage=shrinkage,
                divide_by_std=divide,
            )[self.episode]
        return call_advantages(
            self.outcomes,
            self.task,
            self.intermediate,
            episode=self.episode,
            slot=self.slot,
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            previous=self.previous,
            leave_one_out=leave_one_out,
            shrinkage=shrinkage,
            divide_by_std=divide,
        )

    def _against_values(self, config: TrainConfig) -> Credit:
        calls = [call for call, counts in zip(self.logged.calls, self.counted, strict=True) if counts]
        features, came = call_features(calls, self.intermediate, self.episode), self._returns(config)
        task = self.task[self.episode]
        found = cross_fit(features, came, deal_folds(task, self.episode))
        values = found.values
        if folds_are_tasks(task):  # else a value of another attempt is fitted on this one's outcome
            values = add_other_attempts(values, came, task=task, episode=self.episode, prior=config.shrinkage)
        returns = bootstrapped_returns(
            self.intermediate,
            self.outcomes,
            values,
            episode=self.episode,
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            previous=self.previous,
            lambda_=config.gae_lambda if config.credit == "gae" else 1.0,
        )
        facts = {"value_explained": round(found.explained, 4)}
        return Credit(np.nan_to_num(returns - values, nan=0.0), facts, values, came, returns)
