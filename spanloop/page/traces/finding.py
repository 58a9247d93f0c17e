"""Finds the traces a list shows, newest first: candidates from whatever narrows most, then what is known of each.

Candidates come from spans (roots, errors, traces whose root never came), in windows of time that grow until there are
enough, or from the calls the ETL has read. A trace stands in the list at one instant alone (its root's start, its first
error's, its first call's), so that the next page begins where this one ends.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from spanloop.page.questions import Answer, Question, Row
from spanloop.page.visit import Visit

MINUTE_NS, HOUR_NS = 60 * 10**9, 3600 * 10**9
AFTER_ROOT_NS = 10 * MINUTE_NS
"""How long after a root has ended spans of its trace are counted in a list; the trace's own page counts all."""

AROUND_NS = 6 * HOUR_NS
"""How far from a call or error the rest of its trace is looked for in a list."""

WIDER = 20
"""By how much the next window is wider, when one held too few traces."""

FARTHEST_NS = 24 * 365 * HOUR_NS
"""A window wider than that goes back to the first trace there is."""

BATCH = 60
BUDGET_S = 4.0
"""How long a page goes on looking before it shows what it has, and where to go on from."""

MAX_NS = (1 << 63) - 1

ROOTS = """
select project, trace_id, start_ns, end_ns
from spans
where parent_span_id is null and start_ns >= ? and start_ns <= ?{more}
order by start_ns desc, trace_id desc
limit {limit}
"""

ERRORS = """
select project, trace_id, min(start_ns) as start_ns
from spans
where status_code = 'error' and start_ns >= ? and start_ns <= ?
group by all
order by start_ns desc, trace_id desc
limit {limit}
"""

ROOTLESS = """
select project, trace_id, min(start_ns) as start_ns
from spans
where start_ns >= ? and start_ns <= ?
group by all
having count(*) filter (where parent_span_id is null) = 0
order by start_ns desc, trace_id desc
limit {limit}
"""

CALLS = """
select project, trace_id, min(start_ns) as start_ns
from {table}
where {where}
group by all
having min(start_ns) <= ? and (min(start_ns) < ? or trace_id < ?)
order by start_ns desc, trace_id desc
limit {limit}
"""

DETAILS = """
select
    project,
    trace_id,
    coalesce(min_by(name, start_ns) filter (where parent_span_id is null), min_by(name, start_ns)) as root_name,
    coalesce(min_by(service_name, start_ns) filter (where parent_span_id is null), min_by(service_name, start_ns))
        as service_name,
    min(start_ns) as start_ns,
    max(end_ns) as end_ns,
    min(start_ns) filter (where parent_span_id is null) as root_ns,
    min(start_ns) filter (where status_code = 'error') as error_ns,
    count(*) as num_spans,
    count(*) filter (where status_code = 'error') as num_errors
from spans
where trace_id in ({marks}) and start_ns >= ? and start_ns <= ?
group by project, trace_id
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

Source = Literal["roots", "errors", "rootless", "calls"]


@dataclass(frozen=True)
class Wanted:
    """What a list is narrowed to; empty means any."""

    service: str = ""
    agent: str = ""
    model: str = ""
    policy: str = ""
    status: str = ""
    """`error`, `ok`, or `rootless`: its root never arrived."""

    evidence: str = ""
    outcome_from: float | None = None
    outcome_to: float | None = None
    text: str = ""
    project: str = ""
    since_ns: int = 0
    until_ns: int = MAX_NS
    before: tuple[int, str] = (MAX_NS, "~")
    """Instant and trace after which the list goes on."""

    limit: int = 50

    @property
    def source(self) -> Source:
        """Where candidates come from."""
        has_outcome = self.outcome_from is not None or self.outcome_to is not None
        if self.agent or self.model or self.policy or self.evidence or self.text or has_outcome:
            return "calls"
        if self.status == "rootless":
            return "rootless"
        return "errors" if self.status == "error" else "roots"


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
    last: tuple[int, str] | None = None
    source = _from_calls(visit, wanted) if wanted.source == "calls" else _from_spans(visit, wanted)
    async for answer, reached in source:
        found.asked = found.asked if found.asked.sql else answer.question
        if answer.problem:
            found.problem = answer
            return found
        if answer.rows:
            for row in await describe(visit, answer.rows, wanted):
                if len(found.rows) == wanted.limit:
                    found.next = _cursor(last or wanted.before)
                    return found
                last = (row["at_ns"], row["trace_id"])
                if _fits(row, wanted):
                    found.rows.append(row)
        if time.monotonic() - began > BUDGET_S:
            found.next, found.is_whole = _cursor(reached) if reached else "", not reached
            return found
    return found


_widths: dict[tuple[Any, ...], int] = {}
"""How wide a window last held enough traces, nanoseconds: where the next list begins."""

MOST_WIDTHS = 1000


def _remember(seen: tuple[Any, ...], width: int) -> None:
    if len(_widths) >= MOST_WIDTHS:
        _widths.clear()
    _widths[seen] = width


Reached = tuple[int, str] | None
"""Where the candidates have come to; None at their end."""


async def _from_spans(visit: Visit, wanted: Wanted) -> AsyncIterator[tuple[Answer, Reached]]:
    """Yield candidates among spans, window by window back in time."""
    template = {"roots": ROOTS, "errors": ERRORS, "rootless": ROOTLESS}[wanted.source]
    top_ns, top_id = min(wanted.before[0], wanted.until_ns), wanted.before[1]
    high = min(top_ns, time.time_ns() + HOUR_NS)
    seen = (visit.data, visit.visitor.project, wanted.source, wanted.service)
    width = _widths.get(seen, MINUTE_NS)
    more, values = _root_conditions(wanted) if wanted.source == "roots" else ("", [])
    limit = BATCH
    while True:
        low = max(high - width, wanted.since_ns)
        asked_width, width = width, width * WIDER
        if width > FARTHEST_NS:
            low = wanted.since_ns
        answer = await visit.ask(template.format(more=more, limit=limit), low, high, *values)
        at_top = [row for row in answer.rows if row["start_ns"] == top_ns]
        rows = [row for row in answer.rows if row["start_ns"] < top_ns or row["trace_id"] < top_id]
        if len(answer.rows) == limit and not rows:  # more traces than asked for began in one instant
            limit *= 4
            width //= WIDER
            if limit > BATCH * 1024:
                return
            continue
        reached: Reached = (low, "") if low > wanted.since_ns else None
        if len(answer.rows) == limit:
            reached = (rows[-1]["start_ns"], rows[-1]["trace_id"])
        yield Answer(answer.question, rows, answer.problem, answer.hint), reached
        if len(answer.rows) == limit:
            _remember(seen, asked_width)
            high, width = rows[-1]["start_ns"], max(width // WIDER**2, MINUTE_NS)
            top_ns, top_id = high, rows[-1]["trace_id"]
            limit = max(BATCH, 2 * len(at_top))
        elif low <= wanted.since_ns:
            return
        else:
            high, limit = low, BATCH
            top_ns, top_id = (high, "~") if not rows or rows[-1]["start_ns"] > high else (high, rows[-1]["trace_id"])


def _root_conditions(wanted: Wanted) -> tuple[str, list[Any]]:
    conditions = [
        (name, value) for name, value in (("service_name", wanted.service), ("project", wanted.project)) if value
    ]
    return "".join(f" and {name} = ?" for name, _ in conditions), [value for _, value in conditions]


async def _from_calls(visit: Visit, wanted: Wanted) -> AsyncIterator[tuple[Answer, Reached]]:
    """Yield candidates among the calls the ETL has read."""
    table, where, values = call_conditions(wanted)
    at, id_ = min(wanted.before[0], wanted.until_ns), wanted.before[1]
    while True:
        sql = CALLS.format(table=table, where=where, limit=BATCH)
        answer = await visit.ask(sql, *values, at, at, id_)
        if len(answer.rows) < BATCH:
            yield answer, None
            return
        at, id_ = answer.rows[-1]["start_ns"], answer.rows[-1]["trace_id"]
        yield answer, (at, id_)


def call_conditions(wanted: Wanted) -> tuple[str, str, list[Any]]:
    """Return the table, the conditions on its rows, and the values of these.

    Text is looked for in what the model was shown and said, as it stands in JSON, large and small letters alike.
    """
    of_transitions = wanted.evidence or wanted.outcome_from is not None or wanted.outcome_to is not None
    table = "transitions" if of_transitions else "llm_calls"
    texts = ("observation", "action") if of_transitions else ("input", "output")
    conditions, values = ["start_ns >= ?"], [wanted.since_ns]

    def demand(condition: str, *given: Any) -> None:  # noqa: ANN401 - any parameter
        conditions.append(condition)
        values.extend(given)

    if wanted.project:
        demand("project = ?", wanted.project)
    if wanted.agent:
        demand("agent = ?", wanted.agent)
    if wanted.model:
        demand(
            "behavior_model = ?" if of_transitions else "coalesce(model_returned, model_requested) = ?", wanted.model
        )
    if wanted.policy:
        demand("policy_version = ?", wanted.policy)
    if wanted.evidence:
        demand("evidence = ?", wanted.evidence)
    if wanted.outcome_from is not None:
        demand("outcome >= ?", wanted.outcome_from)
    if wanted.outcome_to is not None:
        demand("outcome <= ?", wanted.outcome_to)
    if wanted.text:
        needle = json.dumps(wanted.text, ensure_ascii=False)[1:-1]
        demand(f"(contains(lower({texts[0]}), lower(?)) or contains(lower({texts[1]}), lower(?)))", needle, needle)
    return table, " and ".join(conditions), values


async def describe(visit: Visit, candidates: Sequence[Row], wanted: Wanted) -> list[Row]:
    """Return what is known of each candidate that stands at its instant in the list; `at_ns` is that instant."""
    ids = list(dict.fromkeys(row["trace_id"] for row in candidates))
    marks = ", ".join("?" * len(ids))
    starts = [row["start_ns"] for row in candidates]
    ends = [row["end_ns"] for row in candidates if row.get("end_ns") is not None]
    low = min(starts) - (HOUR_NS if ends else AROUND_NS)
    high = max(max(ends, default=0) + AFTER_ROOT_NS, max(starts) + (0 if ends else AROUND_NS))
    spans, learned = await asyncio.gather(
        visit.ask(DETAILS.format(marks=marks), *ids, low, high), visit.ask(LEARNED.format(marks=marks), *ids, low, high)
    )
    known = {(row["project"], row["trace_id"]): row for row in spans.rows}
    more = {(row["project"], row["trace_id"]): row for row in learned.rows}
    described = []
    for candidate in candidates:
        key = (candidate["project"], candidate["trace_id"])
        row = known.get(key, {"root_name": None, "service_name": None, "num_errors": 0, **candidate})
        at_ns = {"roots": row.get("root_ns"), "errors": row.get("error_ns"), "rootless": row["start_ns"]}.get(
            wanted.source, candidate["start_ns"]
        )
        is_elsewhere = at_ns != candidate["start_ns"] or (
            wanted.source == "rootless" and row.get("root_ns") is not None
        )
        if key in known and is_elsewhere:
            continue  # it stands further down, where it began
        described.append({**more.get(key, {}), **row, "at_ns": candidate["start_ns"]})
    return described


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


def _cursor(at: tuple[int, str]) -> str:
    return f"{at[0]}.{at[1]}"


def read_cursor(text: str) -> tuple[int, str]:
    """Return the instant and trace a page begins after; the newest where the text is none.

    >>> read_cursor("12.ab"), read_cursor("x")[1]
    ((12, 'ab'), '~')
    """
    at, _, id_ = text.partition(".")
    is_one = at.isascii() and at.isdigit() and len(at) < 20 and int(at) <= MAX_NS
    return (int(at), id_) if is_one else Wanted.before
