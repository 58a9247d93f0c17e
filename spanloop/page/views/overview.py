"""`/`: is it working. What arrives, what the ETL could make of it, what the last night did, what is live."""

import asyncio
import io
import re
import time
from typing import Any

from aiohttp import web

from foundation.errors import SpanloopError
from spanloop.page import charts, facts
from spanloop.page.questions import Question
from spanloop.page.visit import Visit
from spanloop.processes import StageFailed, run_program, spanloop_command

ARRIVED = """
select start_ns // 60000000000 as minute, count(*) as spans
from spans
where start_ns >= ?
group by all
order by minute
"""

COVERAGE = """
select
    coalesce(e.service_name, '(none)') as service,
    bool_or(e.service_name is not null) as is_named,
    count(distinct e.episode_id) as episodes,
    count(*) as calls,
    avg((c.input is not null and c.output is not null)::int) as content,
    avg((c.prompt_token_ids is not null and c.response_token_ids is not null)::int) as token_ids,
    avg((c.behavior_logprobs is not null)::int) as logprobs,
    avg((e.outcome is not null)::int) as rewarded
from llm_calls as c
join episodes as e using (project, episode_id)
group by e.service_name
order by calls desc
limit 20
"""

PUBLISHED = """
select count(*) as episodes, max(end_ns) as last_ns, avg(outcome) as outcome, count(outcome) as rewarded
from episodes
"""

TAUGHT = "select max(checkpoint_id) as checkpoint from credit where taken < 0"

MINUTE_NS, HOUR_NS = 60 * 10**9, 3600 * 10**9
METRIC = re.compile(r"^([a-z_]+)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
CHECK_TIMEOUT_S = 60


async def show(visit: Visit) -> web.StreamResponse:
    """Show whether it works."""
    now = time.time_ns()
    since = now - HOUR_NS
    asked = visit.ask_all(Question(ARRIVED, [since]), Question(COVERAGE), Question(PUBLISHED), Question(TAUGHT))
    (arrived, coverage, published, taught), receiver, metrics = await asyncio.gather(
        asked, _receiver(visit), visit.questions.get_text(visit.visitor, "/metrics")
    )
    by_minute = {row["minute"]: row["spans"] for row in arrived.rows}
    minutes = range(since // MINUTE_NS, now // MINUTE_NS + 1)
    rate = sum(by_minute.get(minute, 0) for minute in list(minutes)[-6:-1]) / 300
    night: dict[str, Any] | None = None
    registry, trouble = None, None
    if visit.visitor.sees_all:
        night = next(iter(await visit.read(facts.nights, visit.data)), None)
        registry, trouble = await visit.read(facts.registry, visit.data)
    findings = await _check(visit) if visit.argument("check") and visit.visitor.sees_all else None
    return visit.render(
        "overview.html",
        title="Overview",
        receiver=receiver,
        metrics=read_metrics(metrics or ""),
        arrived=arrived,
        rate=rate,
        chart=charts.bars(
            [(_clock(minute), by_minute.get(minute, 0)) for minute in minutes],
            title="Spans a minute, last hour",
            width=480,
        ),
        num_spans=sum(by_minute.values()),
        coverage=coverage,
        published=published,
        taught=taught.first.get("checkpoint"),
        night=night,
        verdict=facts.dig(night, "evaluate", "gate") or {},
        registry=registry,
        trouble=trouble,
        findings=findings,
    )


async def _receiver(visit: Visit) -> str | None:
    try:
        return "running" if await visit.questions.receiver() else None
    except SpanloopError as error:
        return error.message


def read_metrics(text: str) -> dict[str, float]:
    r"""Return what the receiver counts, those of several transports added up.

    >>> read_metrics('a_total{transport="http"} 2\na_total{transport="grpc"} 3\n# HELP a_total x\n')
    {'a_total': 5.0}
    """
    found: dict[str, float] = {}
    for name, value in METRIC.findall(text):
        found[name] = found.get(name, 0.0) + float(value)
    return found


def _clock(minute: int) -> str:
    return time.strftime("%H:%M UTC", time.gmtime(minute * 60))


async def _check(visit: Visit) -> list[dict[str, Any]]:
    """Return what `spanloop doctor` finds; the command runs as the process it is."""
    command = spanloop_command("doctor", "--data", str(visit.data), "--json")
    try:
        report = await asyncio.wait_for(visit.read(run_program, command, narration=io.StringIO()), CHECK_TIMEOUT_S)
        found = report.get("findings", [])
    except StageFailed as error:
        found = [{"verdict": "fail", "message": error.message, "remedy": "spanloop doctor"}]
    except TimeoutError:
        found = [{"verdict": "fail", "message": "the checks take longer than a minute", "remedy": "spanloop doctor"}]
    return list(found)
