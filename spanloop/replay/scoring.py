"""What a replayed state is worth: by the outcomes of recorded answers, or by checks on the answers."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from foundation.errors import GateRefused
from foundation.json_schema import judge as judge_by_schema
from spanloop.replay.episode import Replayed
from spanloop.replay.messages import said_of
from spanloop.replay.states import State, question_of

Score = Callable[[Sequence[Replayed]], list[float | None]]
"""Scores of replays, in their order; null where nobody can tell."""

LONGEST_FACT = 12
"""Words up to which an answer is right or wrong as it stands; of a longer one there are many that are as good."""

REFUSAL = re.compile(
    r"^\W*(i'?m sorry|i am sorry|sorry|i can(?:no|')t|i am unable|i'm unable|as an ai)\b", re.IGNORECASE
)


def by_outcomes(states: Sequence[State]) -> Score:
    """Score an answer by how recorded attempts at the same question ended that gave the same answer.

    What stopped before its end is worth the worst outcome on record: nothing shows that it would have gone well. So is
    a short answer that nobody gave, where somebody who did better gave another; else an answer nobody gave is null.
    """
    known: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    outcomes = [state.outcome for state in states if state.outcome is not None]
    if not outcomes:
        raise GateRefused(
            "no recorded episode has an outcome to score answers by",
            hint="Give rewards (spanloop reward), or score with --score checks, --reward-sql DIR or --judge URL.",
        )
    worst = min(outcomes)
    if worst == max(outcomes):
        worst = min(worst, 0.0)  # all went alike: what departs from it is not known to have gone as well
    for state in states:
        if state.outcome is not None:
            known[state.task, question_of(state)][said_of(state.last)].append(state.outcome)

    def score(replays: Sequence[Replayed]) -> list[float | None]:
        return [one(each) for each in replays]

    def one(replayed: Replayed) -> float | None:
        if not replayed.is_whole or replayed.last is None:
            return worst
        given = known[replayed.state.task, question_of(replayed.state)]
        said = said_of(replayed.last)
        if said in given:
            return fmean(given[said])
        better = [answer for answer, found in given.items() if fmean(found) > worst]
        is_fact = len(said.split()) <= LONGEST_FACT and any(len(each.split()) <= LONGEST_FACT for each in better)
        return worst if is_fact else None

    return score


def by_checks(replays: Sequence[Replayed]) -> list[float | None]:
    """Score 1 where a replay ended in words that refuse nothing, and called tools as they are offered; else 0."""
    return [float(_passes(each)) for each in replays]


def _passes(replayed: Replayed) -> bool:
    if not replayed.is_whole or replayed.last is None:
        return False
    said = (replayed.last.get("text") or "").strip()
    if not said or replayed.last.get("refusal") or REFUSAL.match(said):
        return False
    schemas = {tool["name"]: tool.get("parameters") for tool in replayed.state.tools or ()}
    return all(_fits(call, schemas) for answer in replayed.answers for call in answer.message.get("tool_calls") or ())


def _fits(call: dict[str, Any], schemas: dict[str, Any]) -> bool:
    if schemas and call["name"] not in schemas:
        return False
    arguments = call.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            return False
    schema = schemas.get(call["name"])
    return not isinstance(schema, dict) or judge_by_schema(arguments, schema) is not False
