"""`/checkpoints`: what is live, where it came from, what its gates said, how a canary does; and who changed what."""

import io
import json
from datetime import datetime
from typing import Any

from aiohttp import web

from foundation.errors import SettingsError, SpanloopError
from foundation.web.keys import Scope
from serve.schema import Registry, read_server
from spanloop.page import acting, charts, facts
from spanloop.page.facts import Fact, Known
from spanloop.page.render import address
from spanloop.page.views.runs import interval_of
from spanloop.page.visit import NotThere, Visit, clean, see_other
from spanloop.processes import run_stage

SIDE_BY_SIDE = """
with latest as (
    select task_id, policy_version, max_by(action, start_ns) as answer, max_by(outcome, start_ns) as outcome,
        max_by(observation, start_ns) as observation, max_by(trace_id, start_ns) as trace_id
    from transitions
    where step = 0 and policy_version in (?, ?)
    group by all
)
select before.task_id, before.observation, before.answer as before, after.answer as after,
    before.outcome as outcome_before, after.outcome as outcome_after,
    before.trace_id as trace_before, after.trace_id as trace_after
from latest as before
join latest as after on before.task_id = after.task_id and before.policy_version = ? and after.policy_version = ?
order by before.answer = after.answer, abs(coalesce(outcome_after - outcome_before, 0)) desc, before.task_id
limit 12
"""

ACTIONS = ("promote", "canary", "rollback")


async def show(visit: Visit) -> web.StreamResponse:
    """Show every checkpoint and what may be done with it."""
    known = await visit.read(facts.checkpoints, visit.data)
    registry, trouble = await visit.read(facts.registry, visit.data)
    return visit.render(
        "checkpoints.html",
        title="Checkpoints",
        known=[(one, interval_of(one.gate), _measures(one)) for one in known],
        registry=registry,
        trouble=trouble,
        canary=await _canary(visit, registry),
        changes=await visit.read(facts.changes, visit.data),
        acts=await visit.read(facts.acts, visit.data),
        pair=_pair(known, registry),
    )


async def compare(visit: Visit) -> web.StreamResponse:
    """Show what two policies said to the same tasks, side by side."""
    before, after = visit.argument("before"), visit.argument("after")
    answer = await visit.ask(SIDE_BY_SIDE, before, after, before, after)
    return visit.render(
        "compare.html",
        title="Before and after",
        before=before,
        after=after,
        answer=answer,
        rows=[row | {name: said_in(row[name]) for name in ("before", "after")} | _asked(row) for row in answer.rows],
    )


def said_in(action: Any) -> str:  # noqa: ANN401 - JSON text or nothing
    """Return the text and the tool calls of an action."""
    try:
        found = json.loads(action) if isinstance(action, str) else {}
    except (ValueError, RecursionError):
        return str(action)
    if not isinstance(found, dict):
        return str(action)
    text, calls = found.get("text"), found.get("tool_calls")
    called = [
        f"{call.get('name')}({json.dumps(call.get('arguments'), ensure_ascii=False)})"
        for call in (calls if isinstance(calls, list) else [])
        if isinstance(call, dict)
    ]
    return "\n".join([str(text)] * bool(text) + called)


def _asked(row: dict[str, Any]) -> dict[str, str]:
    try:
        messages = json.loads(row["observation"] or "[]")
        texts = [str(message.get("text") or "") for message in messages if message.get("role") == "user"]
    except (ValueError, AttributeError, TypeError, RecursionError):
        texts = []
    return {"asked": texts[-1] if texts else ""}


def _measures(known: Known) -> list[tuple[str, dict[str, Any]]]:
    measures = known.behavior.get("measures")
    return [(n, m) for n, m in measures.items() if isinstance(m, dict)] if isinstance(measures, dict) else []


def _pair(known: list[Known], registry: Registry | None) -> tuple[str, str] | None:
    """Return the live policy and the one before it, where both are checkpoints or the first has a parent."""
    if registry is None:
        return None
    live = next((one for one in known if one.id == registry.live_version), None)
    parent = live.manifest.get("parent") if live else None
    return (str(parent), registry.live_version) if parent else None


async def _canary(visit: Visit, registry: Registry | None) -> dict[str, Any] | None:
    """Return how the canary does: what the gateway says where it runs, else what is on record."""
    if registry is None or registry.canary is None:
        return None
    found: dict[str, Any] = registry.canary.model_dump(mode="json") | {"metrics": {}}
    try:
        if await visit.read(read_server, visit.data) is not None:
            status = await visit.read(run_stage, "serve", "status", "--data", str(visit.data), narration=io.StringIO())
            found |= status.get("canary") or {}
    except SpanloopError as error:
        found["trouble"] = error.message
    course = await visit.read(facts.canary_course, visit.data, registry.canary.version, registry.canary.started_time)
    names = sorted({name for line in course for name in line.get("metrics") or {}})
    found["moved"] = [(name, charts.lines(moved(course, name), title=f"interval of {name} by hour")) for name in names]
    found["drawn"] = {
        name: charts.interval(
            one["difference_low"], one["difference_high"], None, bounds=(-0.2, 0.2), title=f"difference in {name}"
        )
        for name, one in (found.get("metrics") or {}).items()
        if isinstance(one, dict) and isinstance(one.get("difference_low"), int | float)
    }
    return found


def moved(course: list[Fact], metric: str) -> dict[str, list[tuple[float, float]]]:
    """Return the ends of a metric's interval over the hours since the first look.

    >>> moved([{"time": "2026-01-01T00:00:00+00:00", "metrics": {"reward": [-1, 0.5]}}], "reward")
    {'low': [(0.0, -1.0)], 'high': [(0.0, 0.5)]}
    """
    points: dict[str, list[tuple[float, float]]] = {"low": [], "high": []}
    began: datetime | None = None
    for line in course:
        try:
            at = datetime.fromisoformat(line["time"])
            began = began or at
            hours = (at - began).total_seconds() / 3600
            low, high = (float(end) for end in line["metrics"][metric])
        except (KeyError, TypeError, ValueError):
            continue
        points["low"].append((hours, low))
        points["high"].append((hours, high))
    return points


async def act(visit: Visit) -> web.StreamResponse:
    """Promote a checkpoint, try it as a canary, or roll back, by the command that does so; say who did on record."""
    visit.visitor.require(Scope.ADMIN)
    action = visit.request.match_info["action"]
    if action not in ACTIONS:
        raise NotThere("There is no such action.")
    form = await visit.request.post()
    arguments = ["serve", action, "--data", str(visit.data)]
    id_ = ""
    if action != "rollback":
        known = await visit.read(facts.checkpoint, visit.data, clean(str(form.get("checkpoint", ""))))
        if known is None or known.is_pruned:
            raise SettingsError("there is no such checkpoint, or its weights were removed")
        id_ = known.id
        arguments.append(str(known.path))
    await acting.act(visit, action, id_, *arguments)
    return see_other(address("/checkpoints", said=f"Done: {action} {id_}".strip()))
