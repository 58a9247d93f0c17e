"""`/rewards`: is the signal sane. How every part of the reward is distributed, drifts, and goes with the outcome."""

from urllib.parse import urlencode

from aiohttp import web

from etl.schema import TRANSITIONS
from spanloop.page.questions import Question
from spanloop.page.views.panels import (
    Choice,
    Link,
    Panel,
    any_of,
    bars_of,
    by_day,
    histogram_of,
    show_panels,
    trace_link,
)
from spanloop.page.visit import Visit

SIGNALS = ("reward", *(name for name in TRANSITIONS if name.startswith("reward_")))
"""Columns of `transitions` that are a reward or a part of one."""

SIGNAL = """
select
    '{signal}' as signal,
    count({signal}) as measured,
    count({signal}) / greatest(count(*), 1) as share_measured,
    count(*) filter (where {signal} <> 0) as not_zero,
    avg({signal}) as mean,
    stddev_pop({signal}) as deviation,
    min({signal}) as least,
    max({signal}) as largest,
    corr({signal}, outcome) as goes_with_outcome
from transitions
where {where}
"""

BINS = """
with seen as (select {signal} as value from transitions where {signal} is not null and {where}),
edges as (select min(value) as low, max(value) as high from seen)
select
    low + floor(least((value - low) / greatest(high - low, 1e-12) * 24, 23)) * (high - low) / 24 as low,
    low + (floor(least((value - low) / greatest(high - low, 1e-12) * 24, 23)) + 1) * (high - low) / 24 as high,
    count(*) as count
from seen, edges
group by all
order by low
"""

DRIFT = """
select
    strftime(to_timestamp(start_ns // 1000000000), '%Y-%m-%d') as day,
    start_ns // 86400000000000 as day_number,
    count({signal}) as measured,
    avg({signal}) as mean,
    quantile_cont({signal}, 0.05) as p05,
    quantile_cont({signal}, 0.95) as p95
from transitions
where {where}
group by all
order by day_number
"""

AGENTS = """
select coalesce(agent, '(none)') as agent, count({signal}) as measured, avg({signal}) as mean, sum({signal}) as total
from transitions
where {where}
group by all
order by total
limit 40
"""

EXTREMES = """
select trace_id, span_id, agent, step, {signal}, outcome, evidence
from transitions
where {signal} is not null and {where}
order by {signal} {order}, start_ns desc
limit 10
"""

GIVEN = """
select name, source, judges, used, reason, count(*) as scores, avg(value) as mean, min(value) as least,
    max(value) as largest
from rewards
group by all
order by scores desc
limit 50
"""


async def show(visit: Visit) -> web.StreamResponse:
    """Show every part of the reward, one of them in full."""
    signal = visit.chosen("signal", SIGNALS, "reward")
    agent = visit.argument("agent")
    where, values = any_of("agent", agent)

    def ask(sql: str, order: str = "") -> Question:
        return Question(sql.format(signal=signal, where=where, order=order), values)

    every = " union all ".join(SIGNAL.format(signal=name, where=where) for name in SIGNALS)
    to_signal = {"signal": lambda row: "/rewards?" + urlencode({"signal": row["signal"], "agent": agent})}
    to_trace: dict[str, Link] = {"trace_id": trace_link}
    panels = [
        Panel("Parts of the reward", Question(every, values * len(SIGNALS)), links=to_signal,
              note="Signals are weighted and as they are before the bound that keeps outcomes in order. "
              "One that never goes with the outcome teaches something else.",
              empty="The ETL has made no transition yet.", command=f"spanloop etl run --data {visit.data}"),
        Panel(f"Distribution of {signal}", ask(BINS), draw=histogram_of, empty="It was measured nowhere."),
        Panel(f"Drift of {signal}", ask(DRIFT), draw=by_day("mean", f"Mean {signal} by day"),
              hidden=frozenset({"day_number"})),
        Panel(f"{signal} by agent", ask(AGENTS), draw=bars_of("agent", "mean", f"Mean {signal}"),
              links={"agent": lambda row: "/tools?" + urlencode({"agent": row["agent"]})}),
        Panel(f"Calls with the least {signal}", ask(EXTREMES, "asc"), links=to_trace, hidden=frozenset({"span_id"})),
        Panel(f"Calls with the most {signal}", ask(EXTREMES, "desc"), links=to_trace, hidden=frozenset({"span_id"})),
        Panel("Scores that were given", Question(GIVEN), empty="Nobody has given a score.",
              command="curl localhost:4318/v1/rewards -d '{\"trace_id\": \"…\", \"name\": \"outcome\", \"value\": 1}'"),
    ]  # fmt: skip
    choices = (Choice("signal", "Part", SIGNALS), Choice("agent", "Agent"))
    return await show_panels(visit, "Rewards", panels, choices=choices, lead="Is the signal sane?")
