"""Finds the traces a list shows, newest first: candidates, then what is known of each.

A trace stands in the list at one instant alone, so that the next page begins where this one ends: its root's start, its
first error's, its first span's where it has no root; among calls, that of the newest call that is wanted.
"""

import asyncio
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from spanloop.page.questions import Answer, Question, Row
from spanloop.page.traces.candidates import candidates
from spanloop.page.traces.wanted import TOP, Cursor, Wanted, call_conditions, write_cursor
from spanloop.page.visit import Visit

MINUTE_NS, HOUR_NS = 60 * 10**9, 3600 * 10**9
AFTER_ROOT_NS = 10 * MINUTE_NS
"""How long after a root has ended spans of its trace are counted in a list; the trace's own page counts all."""

AROUND_NS = 6 * HOUR_NS
"""How far from a call or error the rest of its trace is looked for in a list."""

BUDGET_S = 2.0
"""How long a page goes on looking before it shows what it has, and where to go on from."""

DETAILS = """
select
    project,
    trace_id,
    coalesce(min_by(root_name, root_ns), min_by(first_name, start_ns)) as root_name,
    coalesce(min_by(root_service_name, root_ns), min_by(first_service_name, start_ns)) as service_name,
    min(start_ns) as start_ns,
    max(end_ns) as end_ns,
    min(root_ns) as root_ns,
    min(error_ns) as error_ns,
    sum(num_spans)::bigint as num_spans,
    sum(num_errors)::bigint as num_errors
from trace_parts
where trace_id in ({marks}) and start_ns >= ? and start_ns <= ?
group by project, trace_id
limit 1000
"""

LEARNED = """
select
    project,
    trace_id,
    string_agg(distinct agent, ', ') as agents,
    string_agg(distinct behavior_model, ', ') as models,
    string_agg(distinct policy_version, ', ') as policies,
    string_agg(distinct evidence, ' ') as evidence,
    max(outcome) as outcome,
    sum(reward) as reward,
    count(*) as calls
from transitions
where trace_id in ({marks}) and start_ns >= ? and start_ns <= ?
group by project, trace_id
"""

NEWEST_CALL = """
select project, trace_id, max(start_ns) as at_ns
from {table}
where {where} and trace_id in ({marks}) and start_ns >= ? and start_ns <= ?
group by project, trace_id
"""


@dataclass
class Found:
    """What a list shows."""

    rows: list[Row] = field(default_factory=list)
    next: str = ""
    """Where the next page begins; empty at the end."""

    is_whole: bool = True
    """Nothing was left out between the first row and the next page; always, but for time running out."""

    asked: Question = field(default_factory=lambda: Question(""))
    problem: Answer | None = None


async def find_traces(visit: Visit, wanted: Wanted) -> Found:
    """Return one page of the traces that are wanted."""
    found = Found()
    began = time.monotonic()
    last: Cursor = wanted.before
    seen: set[Hashable] = set()
    stood: set[tuple[str, str]] = set()
    async for some in candidates(visit, wanted):
        found.asked = found.asked if found.asked.sql else some.answer.question
        if some.answer.problem:
            found.problem = some.answer
            return found
        fresh = _not_seen(some.rows, seen, wanted)
        for start in range(0, len(fresh), wanted.limit + 1):
            for row in await describe(visit, fresh[start : start + wanted.limit + 1], wanted):
                key = (row["project"], row["trace_id"])
                if key in stood:
                    continue
                if len(found.rows) == wanted.limit:
                    found.next = write_cursor(last)
                    return found
                stood.add(key)
                last = (row["at_ns"], row["trace_id"])
                if _fits(row, wanted):
                    found.rows.append(row)
        if some.reached and time.monotonic() - began > BUDGET_S:
            found.next, found.is_whole = write_cursor(some.reached), False
            return found
    return found


def _not_seen(rows: Sequence[Row], seen: set[Hashable], wanted: Wanted) -> list[Row]:
    """Return the candidates that were not looked at before.

    Among calls a trace stands at its newest, which comes first; else at the oldest of its kind, so that each is looked
    at.
    """
    fresh = []
    for row in rows:
        key: tuple[Any, ...] = (row["project"], row["trace_id"])
        if wanted.source != "calls":
            key = (*key, row["at_ns"])
        if key not in seen:
            seen.add(key)
            fresh.append(row)
    return fresh


async def describe(visit: Visit, chosen: Sequence[Row], wanted: Wanted) -> list[Row]:
    """Return what is known of each candidate that stands at its instant in the list, which is `at_ns`."""
    ids = list(dict.fromkeys(row["trace_id"] for row in chosen))
    marks = ", ".join("?" * len(ids))
    ends = [row["end_ns"] for row in chosen if row.get("end_ns") is not None]
    low = min(row["at_ns"] for row in chosen) - (HOUR_NS if ends else AROUND_NS)
    high = max(max(ends, default=0) + AFTER_ROOT_NS, max(row["at_ns"] for row in chosen) + (0 if ends else AROUND_NS))
    asked = [
        visit.ask(DETAILS.format(marks=marks), *ids, low, high),
        visit.ask(LEARNED.format(marks=marks), *ids, low, high),
    ]
    if wanted.source == "calls" and wanted.before != TOP:  # else the newest of each came first
        table, where, given = call_conditions(wanted)
        sql = NEWEST_CALL.format(table=table, where=where, marks=marks)
        asked.append(visit.ask(sql, *given, *ids, min(row["at_ns"] for row in chosen), wanted.until_ns))
    spans, learned, *newest = [_by_trace(answer) for answer in await asyncio.gather(*asked)]
    described = []
    for candidate in chosen:
        key = (candidate["project"], candidate["trace_id"])
        row = spans.get(key, {"root_name": None, "service_name": None, "num_errors": 0, "start_ns": candidate["at_ns"]})
        known = newest[0] if newest else spans if wanted.source != "calls" else {}
        if key not in known or _stands_at(known[key], wanted) == candidate["at_ns"]:  # else it stands further on
            described.append({**candidate, **learned.get(key, {}), **row, "at_ns": candidate["at_ns"]})
    return described


def _stands_at(row: Row, wanted: Wanted) -> int | None:
    """Return where a trace stands in a list; None where it does not."""
    if wanted.source == "rootless" and row["root_ns"] is not None:
        return None
    column = {"roots": "root_ns", "errors": "error_ns", "rootless": "start_ns", "calls": "at_ns"}[wanted.source]
    at_ns: int | None = row[column]
    return at_ns


def _by_trace(answer: Answer) -> dict[tuple[str, str], Row]:
    return {(row["project"], row["trace_id"]): row for row in answer.rows}


def _fits(row: Row, wanted: Wanted) -> bool:
    """Tell whether a trace is wanted, by what its candidates were not chosen by."""
    if wanted.service and row.get("service_name") != wanted.service:
        return False
    if wanted.project and row["project"] != wanted.project:
        return False
    match wanted.status:
        case "error":
            return bool(row.get("num_errors"))
        case "ok":
            return not row.get("num_errors")
        case "rootless":
            return row.get("root_ns") is None
        case _:
            return True
