"""`/episodes`: how attempts end, by agent and by day; the best, the worst, and tasks that teach nothing."""

from aiohttp import web

from spanloop.page.questions import Question
from spanloop.page.render import address
from spanloop.page.views.panels import NO_VALUE, Choice, Panel, any_of, bars_of, by_day, histogram_of, show_panels
from spanloop.page.visit import Visit

DAYS = """
select
    strftime(to_timestamp(end_ns // 1000000000), '%Y-%m-%d') as day,
    end_ns // 86400000000000 as day_number,
    count(*) as episodes,
    count(outcome) as rewarded,
    avg(outcome) as outcome
from episodes
where {where}
group by all
order by day_number
"""

OUTCOMES = """
with seen as (select outcome from episodes where outcome is not null and {where}),
edges as (select min(outcome) as low, max(outcome) as high from seen)
select
    low + floor(least((outcome - low) / greatest(high - low, 1e-12) * 20, 19)) * (high - low) / 20 as low,
    low + (floor(least((outcome - low) / greatest(high - low, 1e-12) * 20, 19)) + 1) * (high - low) / 20 as high,
    count(*) as count
from seen, edges
group by all
order by low
"""

AGENTS = """
select
    coalesce(t.agent, '(none)') as agent,
    count(distinct t.episode_id) as episodes,
    count(*) as calls,
    avg(e.outcome) as outcome,
    sum(t.reward) / count(distinct t.episode_id) as reward_an_episode,
    count(*) filter (where t.evidence = 'A') / count(*) as share_with_evidence_a
from transitions as t
join episodes as e using (project, episode_id)
where {where}
group by all
order by episodes desc
limit 50
"""

ENDS = """
select trace_ids[1] as trace_id, root_name, service_name, outcome, num_transitions as calls, stop_reason, split
from episodes
where outcome is not null and {where}
order by outcome {order}, end_ns desc
limit 10
"""

TASKS = """
select
    attempts,
    count(*) as tasks,
    count(*) filter (where spread = 0) as without_variance,
    count(*) filter (where spread = 0) / count(*) as share_without
from (
    select task_id, count(*) as attempts, stddev_pop(outcome) as spread
    from episodes
    where outcome is not null and task_id is not null and {where}
    group by all
    having count(*) > 1
)
group by all
order by attempts
limit 30
"""

UNENDED = """
select coalesce(stop_reason, '(none)') as stop_reason, is_complete, count(*) as episodes, count(outcome) as rewarded
from episodes
where {where}
group by all
order by episodes desc
"""


async def show(visit: Visit) -> web.StreamResponse:
    """Show how attempts end."""
    service, agent = visit.argument("service"), visit.argument("agent")
    condition, values = any_of("service_name", service)
    of_agent = "true"
    if agent == NO_VALUE:
        of_agent = "len(agents) = 0"
    elif agent:
        of_agent, values = "list_contains(agents, ?)", [*values, agent]
    where = f"{condition} and {of_agent}"

    def ask(sql: str, order: str = "") -> Question:
        return Question(sql.format(where=where, order=order), values)

    link = {"root_name": lambda row: f"/traces/{row['trace_id']}", "trace_id": lambda row: f"/traces/{row['trace_id']}"}
    next_ = f"spanloop reward TRACE_ID 1.0 --data {visit.data}"
    panels = [
        Panel("Outcome by day", ask(DAYS), draw=by_day("outcome", "Mean outcome"), hidden=frozenset({"day_number"}),
              empty="The ETL has read no episode yet.", command=f"spanloop etl run --data {visit.data}"),
        Panel("Distribution of outcomes", ask(OUTCOMES), draw=histogram_of, empty="No episode has an outcome.",
              command=next_),
        Panel("By agent", ask(AGENTS), links={"agent": lambda row: address("/tools", agent=row["agent"])}),
        Panel("Worst", ask(ENDS, "asc"), links=link, empty="No episode has an outcome."),
        Panel("Best", ask(ENDS, "desc"), links=link, empty="No episode has an outcome."),
        Panel("Tasks tried several times", ask(TASKS),
              draw=bars_of("attempts", "share_without", "Share without variance"),
              note="Attempts at a task that all end alike tell nothing of which call was better.",
              empty="No task was tried twice with an outcome."),
        Panel("How they end", ask(UNENDED)),
    ]  # fmt: skip
    both = (Choice("service", "Service"), Choice("agent", "Agent"))
    return await show_panels(visit, "Episodes", panels, choices=both, lead="How do attempts end?")
