"""`/tools`: which tool fails most, for whom, and what it cost."""

from urllib.parse import urlencode

from aiohttp import web

from spanloop.page.questions import Question
from spanloop.page.views.panels import Choice, Panel, any_of, bars_of, show_panels
from spanloop.page.visit import Visit

TOOLS = """
select
    coalesce(c.name, '(none)') as tool,
    coalesce(c.agent, '(none)') as agent,
    count(*) as calls,
    count(c.error) as failed,
    count(c.error) / count(*) as share_failed,
    sum(t.reward_tool_status) filter (where c.error is not null) as reward_lost,
    avg(e.outcome) filter (where c.error is null) as outcome_without_failure,
    avg(e.outcome) filter (where c.error is not null) as outcome_after_failure,
    sum((c.end_ns - c.start_ns) / 1e9) filter (where c.error is not null) as time_lost_s,
    median((c.end_ns - c.start_ns) / 1e9) as median_time_s
from tool_calls as c
join episodes as e using (project, episode_id)
left join transitions as t
    on t.project = c.project and t.trace_id = c.trace_id and t.span_id = c.caused_by_span_id
    and t.stop_reason is distinct from 'not_taken'
where {where}
group by all
order by failed desc, calls desc
limit 100
"""

ERRORS = """
select coalesce(name, '(none)') as tool, coalesce(agent, '(none)') as agent, left(error, 160) as error,
    count(*) as times, min(trace_id) as trace_id, min_by(span_id, trace_id) as span_id
from tool_calls as c
where error is not null and {where}
group by all
order by times desc
limit 50
"""


async def show(visit: Visit) -> web.StreamResponse:
    """Show the tools, those that fail most first."""
    conditions = [any_of("c.agent", visit.argument("agent")), any_of("c.name", visit.argument("tool"))]
    where = " and ".join(condition for condition, _ in conditions)
    values = [value for _, given in conditions for value in given]
    agent = visit.argument("agent")
    to_tool = {
        "tool": lambda row: "/tools?" + urlencode({"tool": row["tool"], "agent": agent}),
        "agent": lambda row: "/tools?" + urlencode({"agent": row["agent"]}),
    }
    to_trace = {"error": lambda row: f"/traces/{row['trace_id']}?" + urlencode({"span": row["span_id"]})}
    panels = [
        Panel("Tools, those that fail most first", Question(TOOLS.format(where=where), values), links=to_tool,
              draw=bars_of("tool", "failed", "Calls that failed"),
              note="Reward lost is the part tool_status of the calls that asked for them. Outcomes are those of the "
              "episodes, with a call of the tool that failed and with one that did not.",
              empty="No tool call has been read yet.", command=f"spanloop etl run --data {visit.data}"),
        Panel("What they say", Question(ERRORS.format(where=where), values), links=to_trace,
              hidden=frozenset({"trace_id", "span_id"}), empty="No call of a tool failed."),
    ]  # fmt: skip
    choices = (Choice("agent", "Agent"), Choice("tool", "Tool"))
    return await show_panels(
        visit, "Tools", panels, choices=choices, lead="Which tool fails most, and what did it cost?"
    )
