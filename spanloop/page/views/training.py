"""`/training/{checkpoint}`: is it learning. Curves of a run, with another's over them, routes, budget, staleness."""

import re
from typing import Any, TypeGuard

from aiohttp import web

from spanloop.page import charts, facts
from spanloop.page.facts import Fact, Known, dig
from spanloop.page.questions import Question
from spanloop.page.views.runs import interval_of
from spanloop.page.visit import NotThere, Visit, see_other

FIRST = (
    "reward", "loss", "kl_call", "entropy", "grad_norm", "ess_share", "clip_fraction", "value_explained",
    "advantage_abs", "tokens_per_s",
)  # fmt: skip
"""Metrics that are drawn first, in this order."""

RATIOS = ("log_ratio_p01", "log_ratio_p50", "log_ratio_p99")
PLACES = ("update", "epoch")

PUSHED = """
select
    t.project, t.trace_id, c.span_id, c.agent, t.step, c.taken as pushed_by, c.return_ as came_of_it,
    c.value as was_expected, c.loss
from credit as c
join transitions as t using (project, episode_id, span_id)
where c.checkpoint_id = ? and c.taken {sign} 0 and t.stop_reason is distinct from 'not_taken'
order by c.taken {order}
limit 8
"""
MOST_OVERLAID = 5


async def newest(visit: Visit) -> web.StreamResponse:
    """Lead to the newest training."""
    known = await visit.read(facts.checkpoints, visit.data)
    if not known:
        return visit.render("training.html", title="Training", known=None, all_known=[])
    return see_other(f"/training/{known[0].id}")


async def show(visit: Visit) -> web.StreamResponse:
    """Show the curves of one training."""
    known = await _known(visit)
    every = await visit.read(facts.checkpoints, visit.data)
    wanted = visit.request.query.getall("with", [])[:MOST_OVERLAID]
    others = [other for other in every if other.id in wanted and other.id != known.id]
    runs = {one.id: await visit.read(facts.metrics, one) for one in (known, *others)}
    names = metric_names(runs[known.id])
    down, up = await visit.ask_all(
        Question(PUSHED.format(sign="<", order="asc"), [known.id]),
        Question(PUSHED.format(sign=">", order="desc"), [known.id]),
    )
    return visit.render(
        "training.html",
        title=known.id,
        known=known,
        all_known=every,
        others=[other.id for other in others],
        num_updates=len(runs[known.id]),
        curves=[(name, *_curve(name, runs)) for name in names],
        ratio=charts.lines(
            {name: points(runs[known.id], name) for name in RATIOS},
            title="log-ratio: 1st, 50th, 99th percentile",
            width=480,
        ),
        staleness=[
            (name.partition("/")[2], _last(runs[known.id], name)) for name in _family(runs[known.id], "staleness")
        ],
        roles=_family(runs[known.id], "reward"),
        routes=[row for row in dig(known.manifest, "window", "counts", "routes") or [] if isinstance(row, dict)],
        counts=dig(known.manifest, "window", "counts") or {},
        settings=dig(known.manifest, "settings") or {},
        budget=dig(known.manifest, "settings", "kl_budget"),
        spent=_last(runs[known.id], "kl_call"),
        interval=interval_of(known.gate),
        pushed=(("down", "Pushed down hardest", down), ("up", "Pushed up hardest", up)),
    )


async def series(visit: Visit) -> web.StreamResponse:
    """Return every point of one metric, for the chart that can be zoomed."""
    name = visit.argument("metric")
    runs = [await _known(visit)]
    every = await visit.read(facts.checkpoints, visit.data)
    runs += [
        one
        for one in every
        if one.id in visit.request.query.getall("with", [])[:MOST_OVERLAID] and one.id != runs[0].id
    ]
    drawn = {one.id: points(await visit.read(facts.metrics, one), name) for one in runs}
    return web.json_response({"metric": name, "series": drawn})


async def _known(visit: Visit) -> Known:
    id_ = visit.request.match_info["checkpoint"]
    known = await visit.read(facts.checkpoint, visit.data, id_)
    if known is None:
        raise NotThere(f"There is no checkpoint {id_[:60]} in {visit.data / 'checkpoints'}.")
    return known


def metric_names(updates: list[Fact]) -> list[str]:
    """Return the metrics of a run that are numbers: those people look at first, then the others by name."""
    there = {name for update in updates for name, value in update.items() if _is_number(value)} - {*PLACES, *RATIOS}
    first = [name for name in FIRST if name in there]
    return first + sorted(name for name in there if name not in first and not name.startswith("staleness/"))


def points(updates: list[Fact], name: str) -> list[tuple[float, float]]:
    """Return a metric over the updates; an update that lacks it is left out."""
    found = []
    for position, update in enumerate(updates, 1):
        at, value = update.get("update"), update.get(name)
        if _is_number(value):
            found.append((float(at if _is_number(at) else position), float(value)))
    return found


def _curve(name: str, runs: dict[str, list[Fact]]) -> tuple[Any, float | None]:
    drawn = charts.lines({run: points(updates, name) for run, updates in runs.items()}, title=name)
    return drawn, _last(next(iter(runs.values())), name)


def _last(updates: list[Fact], name: str) -> float | None:
    return next((y for _, y in reversed(points(updates, name))), None)


def _family(updates: list[Fact], family: str) -> list[str]:
    return sorted({name for update in updates for name in update if re.match(rf"{family}/.", name)})


def _is_number(value: Any) -> TypeGuard[int | float]:  # noqa: ANN401 - any JSON
    return isinstance(value, int | float) and not isinstance(value, bool)
