"""Model calls that are nobody's action: of judges, of replays, and of what the settings exclude by name."""

from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase

import polars as pl

from etl.calls.agents import Surroundings
from etl.calls.readings import Readings
from etl.calls.tree import NO_PARENT, Forest
from etl.dialects.spans import LlmCall
from etl.schema import RejectReason
from otel_exporter.schema import REPLAY


def find_replayed(spans: pl.DataFrame) -> set[int]:
    """Return the rows of spans that a replay marked as its own, whoever wrote them."""
    said = pl.col("attributes").str.contains(f'"{REPLAY}"', literal=True).fill_null(value=False)
    return set(spans.select(said.arg_true()).to_series().to_list())


def find_bystanders(
    calls: Iterable[LlmCall],
    names: Sequence[str | None],
    readings: Readings,
    forest: Forest,
    excluded: Collection[str],
    replayed: AbstractSet[int] = frozenset(),
) -> dict[int, RejectReason]:
    """Return by row why calls are no agent's.

    `names` are the spans' names by row. `excluded` are patterns of names, as a shell has them: of agents, and of spans,
    which exclude what is below them. `replayed` are rows that a replay marked, which exclude themselves too.
    """
    replays = Surroundings(forest, set(replayed))
    judges = Surroundings(forest, set(readings.evaluations))
    is_excluded = {name: _matches(name, excluded) for name in {*names, *(call.agent for call in calls)}}
    left_out = Surroundings(forest, {row for row, name in enumerate(names) if is_excluded[name]} if excluded else set())
    found: dict[int, RejectReason] = {}
    for call in calls:
        rows = [span.index for span in (call.span, *call.merged)]
        if judges.nearest(call.span.index) != NO_PARENT:
            found[call.span.index] = RejectReason.EVALUATOR
        elif replayed and any(row in replayed or replays.nearest(row) != NO_PARENT for row in rows):
            found[call.span.index] = RejectReason.REPLAYED
        elif excluded and (
            is_excluded[call.agent] or any(is_excluded[names[r]] or left_out.nearest(r) != NO_PARENT for r in rows)
        ):
            found[call.span.index] = RejectReason.EXCLUDED
    return found


def _matches(name: str | None, patterns: Iterable[str]) -> bool:
    return name is not None and any(fnmatchcase(name, pattern) for pattern in patterns)
