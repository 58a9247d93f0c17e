"""Which traces may stand in a list, newest first: from the sums of traces, or from the calls the ETL has read.

Each statement reads the newest rows below an instant and no more, however many there are. A trace is named again and
again where it has several such rows: whoever reads this takes the first, and looks whether it stands there.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from spanloop.page.questions import Answer, Row
from spanloop.page.traces.wanted import Cursor, Wanted, call_conditions
from spanloop.page.visit import Visit

BATCH = 60
MOST_BATCH = 960
"""Rows of one statement, at first and at most. More than a thousand would be read by another process."""

WINDOW, TEXT_WINDOW = 20_000, 2_000
"""Rows looked through at a time, at first, where all of a stretch has to be: for what is missing, or for words."""

WIDER, WIDEST = 4, 16
"""By how much the next stretch is longer, and how much at most."""

ROOTS = """
select project, trace_id, root_ns as at_ns, root_end_ns as end_ns
from trace_parts
where root_ns >= ? and root_ns <= ? and (root_ns < ? or trace_id < ?){more}
order by root_ns desc, trace_id desc
limit {limit}
"""

ERRORS = """
select project, trace_id, error_ns as at_ns
from trace_parts
where error_ns >= ? and error_ns <= ? and (error_ns < ? or trace_id < ?){more}
order by error_ns desc, trace_id desc
limit {limit}
"""

ROOTLESS = """
select project, trace_id, min(start_ns) as at_ns
from trace_parts
where start_ns >= ? and start_ns <= ?{more}
group by project, trace_id
having count(root_ns) = 0 and (min(start_ns) < ? or trace_id < ?)
order by at_ns desc, trace_id desc
limit {limit}
"""

CALLS = """
select project, trace_id, start_ns as at_ns
from {table}
where {where} and start_ns >= ? and start_ns <= ? and (start_ns < ? or trace_id < ?)
order by start_ns desc, trace_id desc
limit {limit}
"""

EDGE = "select start_ns from {table} where start_ns <= ? order by start_ns desc limit 1 offset {rows}"


@dataclass(frozen=True)
class Candidates:
    """Some traces, newest first, and where to go on."""

    answer: Answer
    reached: Cursor | None
    """Everything above it was looked at; None at the end."""

    @property
    def rows(self) -> list[Row]:
        """The traces: `project`, `trace_id`, `at_ns`, and `end_ns` of a root."""
        return self.answer.rows


def candidates(visit: Visit, wanted: Wanted) -> AsyncIterator[Candidates]:
    """Yield what may be wanted, some at a time."""
    match wanted.source:
        case "calls" if wanted.text:
            return _stretches(visit, wanted, _words(wanted))
        case "rootless":
            return _stretches(visit, wanted, _rootless(wanted))
        case _:
            return _newest(visit, wanted)


async def _newest(visit: Visit, wanted: Wanted) -> AsyncIterator[Candidates]:
    """Yield the newest rows of their kind, as many more each time as were too few before."""
    sql, given = _statement(wanted)
    at, limit = wanted.top, BATCH
    while True:
        values = [wanted.since_ns, at[0], at[0], at[1]]
        answer = await visit.ask(sql.replace("{limit}", str(limit)), *given, *values, *_own_values(wanted))
        if len(answer.rows) < limit:
            yield Candidates(answer, None)
            return
        at = (answer.rows[-1]["at_ns"], answer.rows[-1]["trace_id"])
        yield Candidates(answer, at)
        limit = min(limit * 4, MOST_BATCH)


def _statement(wanted: Wanted) -> tuple[str, list[Any]]:
    if wanted.source == "calls":
        table, where, given = call_conditions(wanted)
        return CALLS.format(table=table, where=where, limit="{limit}"), given
    template = ROOTS if wanted.source == "roots" else ERRORS
    return template.format(more=_own_conditions(wanted), limit="{limit}"), []


def _own_conditions(wanted: Wanted) -> str:
    project = " and project = ?" if wanted.project else ""
    return project + (" and root_service_name = ?" if wanted.source == "roots" and wanted.service else "")


def _own_values(wanted: Wanted) -> list[str]:
    if wanted.source == "calls":
        return []
    project = [wanted.project] if wanted.project else []
    return project + ([wanted.service] if wanted.source == "roots" and wanted.service else [])


@dataclass(frozen=True)
class _Walk:
    """What is asked of each stretch."""

    table: str
    sql: str
    values: Callable[[int, Cursor], list[Any]]
    """What stands for the question marks, from the instant a stretch goes down to and where it begins."""

    num_rows: int
    """Rows of the first stretch."""


def _words(wanted: Wanted) -> _Walk:
    """Return the walk through calls with these words."""
    table, where, given = call_conditions(wanted)
    sql = CALLS.format(table=table, where=where, limit=MOST_BATCH)
    return _Walk(table, sql, lambda low, at: [*given, low, at[0], *at], TEXT_WINDOW)


def _rootless(wanted: Wanted) -> _Walk:
    """Return the walk through traces without a root. One that has it elsewhere is among them."""
    sql = ROOTLESS.format(more=_own_conditions(wanted), limit=MOST_BATCH)
    return _Walk("trace_parts", sql, lambda low, at: [low, at[0], *_own_values(wanted), *at], WINDOW)


async def _stretches(visit: Visit, wanted: Wanted, walk: _Walk) -> AsyncIterator[Candidates]:
    """Yield what each stretch holds, one after the other."""
    at, num_rows, most = wanted.top, walk.num_rows, walk.num_rows * WIDEST
    while True:
        edge = await _edge(visit, walk.table, at[0], num_rows)
        low = max(wanted.since_ns, edge)
        answer = await visit.ask(walk.sql, *walk.values(low, at))
        if len(answer.rows) == MOST_BATCH:
            at = (answer.rows[-1]["at_ns"], answer.rows[-1]["trace_id"])
            yield Candidates(answer, at)
            continue
        yield Candidates(answer, (low, "") if edge > wanted.since_ns else None)
        if edge <= wanted.since_ns:
            return
        at, num_rows = (low, ""), _longer(num_rows, most, is_stuck=edge == at[0])


def _longer(num_rows: int, most: int, *, is_stuck: bool) -> int:
    """Return how many rows are looked through next; more than `most` where all of them began in one instant."""
    return num_rows * WIDER if is_stuck else min(num_rows * WIDER, most)


async def _edge(visit: Visit, table: str, at_ns: int, num_rows: int) -> int:
    """Return the instant down to which there are so many rows from another; -1 where there are fewer."""
    answer = await visit.ask(EDGE.format(table=table, rows=num_rows), at_ns)
    return int(answer.first.get("start_ns", -1))
