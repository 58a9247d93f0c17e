"""Which loss each call is trained with, by what is known of its sampling; says what went where, and why."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etl.schema import Evidence
from train.data.logged import Logged
from train.losses.registry import ANY, LOSSES

Floats = NDArray[np.float64]

ALONE = -1
"""In `Route.partner`: the call is in no pair."""

AUTO: dict[Evidence, tuple[str, str]] = {
    Evidence.EXACT: ("cispo", "log-probabilities on record: the ratio corrects for the policy that sampled"),
    Evidence.RESCORED: ("cispo", "sampled by this model, which can say the log-probabilities itself"),
    Evidence.IDS: ("dro", "sampled by an ancestor, no ratio: a pull to the starting model holds it"),
    Evidence.CUT: ("topr", "cut distribution, no ratio: what went well is learned, the rest is left out"),
    Evidence.TEXT: ("awr", "text only: imitated, the better the more"),
    Evidence.FOREIGN: ("rft", "of another model: what went well is imitated, the rest is left out"),
}
"""What `auto` does with a call, and why."""

NEVER_PUSHED_AWAY = frozenset({Evidence.CUT, Evidence.FOREIGN})
"""Calls that no loss may push away from: without a ratio nothing would bound it, and what another model would not have
said says nothing of what this one should not say."""


@dataclass(frozen=True)
class Route:
    """The loss of every call."""

    losses: tuple[str, ...]
    """Names of those that came up."""

    loss: NDArray[np.int64]
    """Index in `losses`, of each call."""

    weight: Floats
    """Of each call: 0 where its loss leaves it out."""

    partner: NDArray[np.int64]
    """For DPO: index of the other call of the pair, else `ALONE`."""

    table: list[dict[str, Any]]
    """For the report: `known`, `loss`, `why`, and the numbers of calls, tokens and calls left out."""

    def without(self, left_out: NDArray[np.bool_]) -> "Route":
        """Leave calls out, and what was paired with them; the table stays that of all."""
        is_widowed = (self.partner != ALONE) & left_out[self.partner]
        gone = left_out | is_widowed
        return replace(self, weight=np.where(gone, 0.0, self.weight), partner=np.where(gone, ALONE, self.partner))


def admitted(loss: str) -> frozenset[Evidence]:
    """Return what must be known of a call to be trained with a loss, or by `auto`."""
    return ANY if loss == "auto" else LOSSES[loss].admits


def route_calls(logged: Logged, advantages: Floats, *, loss: str, negative: float) -> tuple[Route, Floats]:
    """Give every call its loss, and return advantages as that loss takes them.

    `negative` is the weight of negative advantages where a loss is proportional to them. DPO takes the signs of pairs.
    """
    calls = logged.calls
    rungs = [call.evidence for call in calls]
    names = [AUTO[each][0] if loss == "auto" else loss for each in rungs]
    trained = logged.is_trained()
    losses = tuple(sorted(set(names)))
    number = np.array([losses.index(name) for name in names], dtype=np.int64)
    partner = np.full(len(calls), ALONE, dtype=np.int64)
    weight = trained.astype(np.float64)
    taken = advantages.copy()
    for index, name in enumerate(losses):
        spec = LOSSES[name]
        mine = trained & (number == index)
        if "pairs" in spec.needs:
            partner, taken = _pair(logged, mine, taken)
            weight[mine & (partner == ALONE)] = 0
        elif "mean" in spec.needs:
            weight[mine] *= _balance(taken[mine])
        elif spec.is_proportional:
            taken[mine & (taken < 0)] *= negative
        if spec.only_positive:
            weight[mine & ~(taken > 0)] = 0
        if name == "dapo":
            weight[mine & np.array([call.was_cut_short for call in calls], dtype=bool)] = 0
    unpushed = np.array([each in NEVER_PUSHED_AWAY for each in rungs], dtype=bool)
    weight[unpushed & ~(taken > 0)] = 0
    return Route(losses, number, weight, partner, _table(logged, names, weight, loss)), taken


def _pair(logged: Logged, mine: NDArray[np.bool_], advantages: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Pair calls of one agent that answered the very same prompt, the best with the worst, and so on inwards."""
    partner = np.full(len(mine), ALONE, dtype=np.int64)
    signs = np.zeros(len(mine))
    asked: dict[tuple[str, bytes], list[int]] = defaultdict(list)
    for index in np.flatnonzero(mine):
        asked[logged.calls[index].agent, logged.calls[index].prompt_ids.tobytes()].append(int(index))
    for answers in asked.values():
        ranked = sorted(answers, key=lambda index: (-advantages[index], index))
        for best, worst in zip(ranked[: len(ranked) // 2], reversed(ranked), strict=False):
            if advantages[best] > advantages[worst]:
                partner[best], partner[worst] = worst, best
                signs[best], signs[worst] = 1.0, -1.0
    return partner, signs


def _balance(advantages: Floats) -> Floats:
    """Return weights under which good and bad calls count the same in sum; 0 where a call is neither."""
    good, bad = advantages > 0, advantages < 0
    ratio = good.sum() / bad.sum() if good.any() and bad.any() else 1.0
    return np.where(good, 1.0, np.where(bad, ratio, 0.0))


def _table(logged: Logged, names: list[str], weight: Floats, loss: str) -> list[dict[str, Any]]:
    rows: dict[tuple[Evidence, str], dict[str, Any]] = {}
    for call, name, counts in zip(logged.calls, names, weight, strict=True):
        if call.set_aside is not None:
            continue
        rung = call.evidence
        why = AUTO[rung][1] if loss == "auto" else "as the settings say"
        row = rows.setdefault(
            (rung, name),
            {
                "known": call.evidence.value,
                "loss": name,
                "why": why,
                "num_calls": 0,
                "num_tokens": 0,
                "num_left_out": 0,
            },
        )
        row["num_calls"] += 1
        row["num_tokens"] += len(call.response_ids)
        row["num_left_out"] += not counts
    order = list(Evidence)
    return [rows[key] for key in sorted(rows, key=lambda key: (order.index(key[0]), key[1]))]
