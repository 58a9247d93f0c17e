"""`/traces/{id}`: why this reward. Tree and waterfall, and beside them what was chosen in it."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from foundation.errors import SpanloopError
from spanloop.page.questions import Question
from spanloop.page.render import address
from spanloop.page.traces import judged, trees
from spanloop.page.traces.trees import Node, Tree, read_spans
from spanloop.page.traces.wanted import MAX_NS
from spanloop.page.visit import NotThere, Visit

TIMES = """
select
    project,
    min(start_ns) as start_ns,
    max(greatest(start_ns, coalesce(end_ns, start_ns))) as end_ns,
    sum(num_spans)::bigint as spans
from trace_parts
where trace_id = ?
group by project
order by project
limit 1000
"""
"""Where in time the spans of a trace are: with it, whatever is asked of them reads a stretch instead of everything."""

SPANS = """
select span_id, parent_span_id, start_ns, end_ns, status_code, left(name, 400) as name, kind, service_name, project
from spans
where trace_id = ? and project = ? and start_ns >= ? and start_ns <= ?
order by start_ns, span_id
limit {limit} offset {offset}
"""

PART = 25_000
"""Spans of a trace that are read at a time; the page says which, and leads to the rest."""

KEPT_SPANS, KEPT_S = 2 * PART, 20.0
"""Spans of trees that are kept for the next branch somebody opens, and for how long."""


@dataclass
class Trace:
    """A trace as it was read, and what the ETL and the trainer said of its spans."""

    id: str
    project: str
    projects: list[str]
    tree: Tree
    part: int
    num_spans: int
    known: "judged.Known"
    questions: list[Question]


_kept: OrderedDict[tuple[Any, ...], tuple[float, Trace]] = OrderedDict()


async def show(visit: Visit) -> web.StreamResponse:
    """Show a trace: its tree, and the span that was chosen or else what matters most."""
    trace = await _trace(visit)
    tree = trace.tree
    chosen = tree.nodes.get(visit.argument("span")) or _first_to_see(trace)
    under = tree.nodes.get(visit.argument("under"))
    from_ = visit.whole("from", 0, most=PART)
    tops = trees.tops_for(tree, under, chosen if _is_below(chosen, under) else None)
    return visit.render(
        "trace.html",
        title=_title(trace),
        **_tree_values(trace, tops, chosen, from_, under),
        **await judged.detail(visit, trace.id, trace.project, chosen, trace.known),
        ways=_ways(tops[0]) if tops else [],
        ranges=_parts(visit, trace),
        part_size=PART,
    )


async def branch(visit: Visit) -> web.StreamResponse:
    """Show the children of one span, as a part of the page for its script."""
    trace = await _trace(visit)
    node = trace.tree.nodes.get(visit.argument("of"))
    if node is None:
        raise NotThere("There is no such span in this trace.")
    from_ = visit.whole("from", 0, most=len(node.children))
    is_rest = bool(visit.argument("rest"))
    values = _tree_values(trace, [node], None, from_, node)
    return visit.render("branch.html", title="", is_rest=is_rest, **values)


async def detail(visit: Visit) -> web.StreamResponse:
    """Show one span, as a part of the page for its script."""
    trace = await _trace(visit)
    node = trace.tree.nodes.get(visit.request.match_info["span_id"])
    if node is None:
        raise NotThere("There is no such span in this trace.")
    values = await judged.detail(visit, trace.id, trace.project, node, trace.known)
    return visit.render("detail.html", title="", trace=trace, here=_here(trace), **values)


async def _trace(visit: Visit) -> Trace:
    """Return the trace of the address, read anew unless it was just now."""
    id_ = visit.request.match_info["trace_id"].lower()
    part = visit.whole("part", 0, most=100_000)
    asked_project = visit.argument("project")
    key = (visit.data, visit.visitor.project, visit.visitor.sees_all, id_, part, asked_project)
    kept = _kept.get(key)
    if kept is not None and time.monotonic() - kept[0] < KEPT_S and "X-Part" in visit.request.headers:
        return kept[1]
    times = await visit.ask(TIMES, id_)
    if times.problem:
        raise NotThere(f"{times.problem} {times.hint or ''}")
    by_project = {row["project"]: row for row in times.rows}
    if not by_project:
        raise NotThere("There is no such trace here that you may see; it may have been pruned.")
    project = asked_project if asked_project in by_project else next(iter(by_project))
    own = by_project[project]
    begin, end, num_spans = own["start_ns"], own["end_ns"], own["spans"]
    spans = Question(SPANS.format(limit=PART, offset=part * PART), [id_, project, begin, end])
    rows, known = await asyncio.gather(_read(visit, spans), judged.read(visit, id_, project, (begin, end)))
    if len(rows) < min(PART, num_spans - part * PART):  # some began after the last of the others had ended
        rows = await _read(visit, replace(spans, parameters=[id_, project, begin, MAX_NS]))
    if not rows:
        raise NotThere("This trace has no spans there.")
    trace = Trace(id_, project, list(by_project), Tree(rows), part, num_spans, known, [spans, *known.questions])
    _kept[key] = (time.monotonic(), trace)
    _kept.move_to_end(key)
    while len(_kept) > 1 and sum(len(each.tree.nodes) for _, each in _kept.values()) > KEPT_SPANS:
        _kept.popitem(last=False)
    return trace


async def _read(visit: Visit, question: Question) -> list[trees.Span]:
    try:
        return read_spans((await visit.questions.take(visit.visitor, question, "csv")).decode())
    except SpanloopError as error:
        raise NotThere(f"{error.message} {error.hint or ''}") from error


def _tree_values(trace: Trace, tops: list[Node], chosen: Node | None, from_: int, under: Node | None) -> dict[str, Any]:
    opened = trees.choose_open(tops, chosen)
    if under is not None and tops == [under]:
        opened.add(under.id)
    shown = trees.show(tops[: trees.MOST_CHILDREN], opened, chosen, from_=from_ if under is not None else None)
    start, end = trace.tree.bounds
    return {
        "trace": trace,
        "shown": shown,
        "chosen": chosen,
        "num_tops_hidden": max(0, len(tops) - trees.MOST_CHILDREN),
        "start": start,
        "span_of_time": end - start,
        "most": trees.MOST_CHILDREN,
        "here": _here(trace),
    }


def _here(trace: Trace) -> dict[str, Any]:
    """Return what the address of another view of the same trace has to repeat."""
    return {"project": trace.project if len(trace.projects) > 1 else "", "part": trace.part or ""}


def _is_below(node: Node | None, under: Node | None) -> bool:
    while node is not None and node is not under:
        node = node.parent
    return node is under


def _first_to_see(trace: Trace) -> Node | None:
    """Return the call that was pushed down hardest or else the first one; without any the first root.

    Calls that are transitions go before those that were set aside, and these before others.
    """
    known = trace.known
    for among in (known.transitions, known.rejected, known.calls):
        if calls := [node for node in trace.tree.walk() if node.id in among]:
            return min(calls, key=lambda node: known.pushed(node.id))
    return trace.tree.roots[0] if trace.tree.roots else None


def _ways(top: Node) -> list[Node]:
    """Return the ancestors of what stands on top, the farthest first."""
    found: list[Node] = []
    while top.parent is not None and len(found) < 8:
        top = top.parent
        found.append(top)
    return found[::-1]


def _title(trace: Trace) -> str:
    root = next((node for node in trace.tree.roots if not node.span.parent_span_id), None)
    return (root or trace.tree.roots[0]).span.name[:120] if trace.tree.roots else trace.id


def _parts(visit: Visit, trace: Trace) -> list[tuple[str, str, bool]]:
    """Return the parts of a trace that is read in several: label, address, whether it is this one."""
    count = -(-trace.num_spans // PART)
    if count <= 1 and not trace.part:
        return []
    chosen = sorted({0, count - 1, *range(max(0, trace.part - 3), min(count, trace.part + 4))})
    return [
        (
            f"{number * PART + 1:,} to {min((number + 1) * PART, trace.num_spans):,}",
            address(visit.request.path, part=number or "", project=visit.argument("project")),
            number == trace.part,
        )
        for number in chosen
    ]
