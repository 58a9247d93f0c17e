"""`/traces`: what happened. Filters in the address, newest first, a page at a time; and the live tail."""

import asyncio
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from aiohttp import web

from spanloop.page.questions import Questions
from spanloop.page.render import address
from spanloop.page.traces.finding import HOUR_NS, find_traces
from spanloop.page.traces.wanted import MAX_NS, Wanted, read_cursor
from spanloop.page.visit import Visit

SERVICES = """
select service_name as choice
from episodes
where service_name is not null
group by all
order by count(*) desc, choice
limit 50
"""

AGENTS = """
select agent as choice
from (select unnest(agents) as agent from episodes)
where agent is not null
group by all
order by count(*) desc, choice
limit 50
"""

MODELS = """
select coalesce(model_returned, model_requested) as choice
from llm_calls
where choice is not null
group by all
order by count(*) desc, choice
limit 50
"""

CHOICES = {"service": SERVICES, "agent": AGENTS, "model": MODELS}

FILTERS = (
    "service", "agent", "model", "policy", "status", "evidence", "outcome_from", "outcome_to", "text", "since", "until",
    "project",
)  # fmt: skip
STATUS = ("error", "ok", "rootless")
OFFERED_S, MAX_OFFERED = 300, 100
PATIENCE_S = 0.2
"""How long a list waits for what its filters offer, before it offers what it did last."""

MAX_TAILS = 16
TAIL_EVERY_S = 2.0
TAIL_LASTS_S = 3600
TAIL_BATCH = 30


async def show(visit: Visit) -> web.StreamResponse:
    """Show one page of the list."""
    wanted = wanted_of(visit)
    found, choices = await asyncio.gather(find_traces(visit, wanted), _choices(visit))
    kept = {name: visit.argument(name) for name in FILTERS}
    is_live = bool(visit.argument("live")) and wanted.source == "roots"
    return visit.render(
        "traces.html",
        title="Traces",
        found=found,
        kept=kept,
        is_filtered=any(kept.values()),
        choices=choices,
        next=address("/traces", **kept, before=found.next) if found.next else "",
        newest=address("/traces", **kept) if visit.argument("before") else "",
        live=address("/traces", **kept, live=1) if wanted.source == "roots" and not is_live else "",
        tail=address("/live", **kept) if is_live else "",
    )


@dataclass
class _Offer:
    """What the filters of somebody's list offer."""

    choices: dict[str, list[str]] = field(default_factory=dict)
    asked_s: float = -OFFERED_S
    asking: asyncio.Task[None] | None = None


_offers: dict[tuple[Questions, str | None], _Offer] = {}


async def _choices(visit: Visit) -> dict[str, list[str]]:
    """Return what filters offer, asked anew beside the list where that was a while ago."""
    key = (visit.questions, visit.visitor.project)
    if key not in _offers and len(_offers) >= MAX_OFFERED:
        _offers.clear()
    offer = _offers.setdefault(key, _Offer())
    if offer.asking is None and time.monotonic() - offer.asked_s >= OFFERED_S:
        offer.asking = asyncio.create_task(_ask_choices(visit, offer))
    if offer.asking is not None:
        await asyncio.wait({offer.asking}, timeout=PATIENCE_S)
    return offer.choices


async def _ask_choices(visit: Visit, offer: _Offer) -> None:
    """Ask for them, one after the other: the list itself goes before."""
    try:
        for name, sql in CHOICES.items():
            answer = await visit.ask(sql)
            if not answer.problem:
                offer.choices[name] = [str(row["choice"]) for row in answer.rows]
    finally:
        offer.asked_s, offer.asking = time.monotonic(), None


def wanted_of(visit: Visit) -> Wanted:
    """Read the filters of an address; what is none of a filter's values filters nothing."""
    return Wanted(
        service=visit.argument("service"),
        agent=visit.argument("agent"),
        model=visit.argument("model"),
        policy=visit.argument("policy"),
        status=visit.chosen("status", STATUS),
        evidence=visit.chosen("evidence", "ABCD"),
        outcome_from=visit.real("outcome_from"),
        outcome_to=visit.real("outcome_to"),
        text=visit.argument("text", most=200),
        project=visit.argument("project"),
        since_ns=instant_ns(visit.argument("since")) or 0,
        until_ns=instant_ns(visit.argument("until")) or MAX_NS,
        before=read_cursor(visit.argument("before")),
    )


def instant_ns(text: str) -> int | None:
    """Return an instant of a form, in UTC, as nanoseconds; None for what is none.

    >>> instant_ns("2026-01-01T00:00"), instant_ns("yesterday")
    (1767225600000000000, None)
    """
    try:
        when = datetime.fromisoformat(text)
        found = int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()) * 10**9
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found <= MAX_NS else None


_tails = 0


async def tail(visit: Visit) -> web.StreamResponse:
    """Send the rows of traces as their roots arrive, as server-sent events."""
    global _tails
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(visit.request)
    if _tails >= MAX_TAILS:
        await response.write(_event("trouble", "Too many pages follow already; load this one again later."))
        return response
    _tails += 1
    try:
        await _follow(visit, response)
    except (ConnectionError, asyncio.CancelledError):
        pass  # the visitor has gone, or the page ends
    finally:
        _tails -= 1
    return response


async def _follow(visit: Visit, response: web.StreamResponse) -> None:
    template = visit.templates.get_template("trace_row.html")
    wanted = replace(wanted_of(visit), limit=TAIL_BATCH)
    shown: dict[str, tuple[int, int]] = {}
    began = time.monotonic()
    while time.monotonic() - began < TAIL_LASTS_S:
        newest = replace(wanted, since_ns=max(wanted.since_ns, time.time_ns() - HOUR_NS // 6))
        found = await find_traces(visit, newest)
        if found.problem:
            await response.write(_event("trouble", found.problem.problem or ""))
        for row in reversed(found.rows):
            state = (row["num_spans"], row["end_ns"])
            if shown.get(row["trace_id"]) != state:
                shown[row["trace_id"]] = state
                await response.write(_event("row", template.render(row=row)))
        while len(shown) > 10 * TAIL_BATCH:
            shown.pop(next(iter(shown)))
        await response.write(b": here\n\n")
        await asyncio.sleep(TAIL_EVERY_S)


def _event(kind: str, text: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {kind}\n{lines}\n".encode("utf-8", "replace")
