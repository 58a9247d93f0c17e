"""Model calls that are nobody's action: those of judges, and of agents and spans that the settings exclude by name."""

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from etl.calls.agents import Surroundings
from etl.calls.readings import Readings
from etl.calls.tree import NO_PARENT, Forest
from etl.dialects.spans import LlmCall
from etl.schema import RejectReason


def find_bystanders(
    calls: Iterable[LlmCall], names: Sequence[str | None], readings: Readings, forest: Forest, excluded: Collection[str]
) -> dict[int, RejectReason]:
    """Return by row why calls are no agent's.

    `names` are the spans' names by row. `excluded` are patterns of names, as a shell has them: of agents, and of spans,
    which exclude what is below them.
    """
    judges = Surroundings(forest, set(readings.evaluations))
    is_excluded = {name: _matches(name, excluded) for name in {*names, *(call.agent for call in calls)}}
    left_out = Surroundings(forest, {row for row, name in enumerate(names) if is_excluded[name]} if excluded else set())
    found: dict[int, RejectReason] = {}
    for call in calls:
        rows = [span.index for span in (call.span, *call.merged)]
        if judges.nearest(call.span.index) != NO_PARENT:
            found[call.span.index] = RejectReason.EVALUATOR
        elif excluded and (
            is_excluded[call.agent] or any(is_excluded[names[r]] or left_out.nearest(r) != NO_PARENT for r in rows)
        ):
            found[call.span.index] = RejectReason.EXCLUDED
    return found


def _matches(name: str | None, patterns: Iterable[str]) -> bool:
    return name is not None and any(fnmatchcase(name, pattern) for pattern in patterns)
