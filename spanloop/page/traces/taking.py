"""What a trace is taken away as: OTLP as it would arrive, a test fixture, a picture of a call."""

import io
import json
import zipfile
from collections.abc import AsyncIterator

from aiohttp import web

from foundation.errors import SpanloopError
from spanloop.page.questions import Row
from spanloop.page.traces import conversation
from spanloop.page.traces.judged import CALL
from spanloop.page.traces.otlp import resource_logs, resource_spans
from spanloop.page.visit import NotThere, Visit

SPANS = """
select *
from spans
where trace_id = ?{project}
order by start_ns, span_id
limit {limit} offset {offset}
"""

SLICE = 500
"""Spans that are read and written at a time."""

MAX_FIXTURE_SPANS = 5000

STEPS = "select agent, span_id, step, reward, outcome, evidence, done from transitions where trace_id = ? order by step"
SET_ASIDE = "select span_id, reason from rejected where trace_id = ?"

LOGS = """
select *
from log_records
where trace_id = ?{project}
order by received_seq, record_index
limit {limit} offset {offset}
"""

NAMED = """
select *
from log_records
where trace_id is null and (
    json_extract_string(attributes, '$."gen_ai.response.id"') in ({marks})
    or json_extract_string(attributes, '$."spanloop.episode.id"') in ({marks})
    or json_extract_string(attributes, '$."gen_ai.conversation.id"') in ({marks})
    or json_extract_string(attributes, '$."session.id"') in ({marks})
){project}
order by received_seq, record_index
limit 1000
"""
"""Scores outside any trace, by what the ETL found them to judge."""

NAMES = "select names from rewards where judged_trace_id = ? and source = 'log_record' and names is not null limit 200"


async def otlp(visit: Visit) -> web.StreamResponse:
    """Send the trace as one OTLP/JSON request, which `spanloop receiver import` and any Collector take."""
    id_ = _trace_id(visit)
    response = web.StreamResponse(
        headers={"Content-Type": "application/json", "Content-Disposition": f'attachment; filename="{id_[:40]}.json"'}
    )
    separator = b'{"resourceSpans": ['
    async for rows in _slices(visit, SPANS, id_):
        if not response.prepared:
            await response.prepare(visit.request)
        for group in resource_spans(rows):
            await response.write(separator + json.dumps(group).encode())
            separator = b",\n"
    if not response.prepared:
        raise NotThere("There is no such trace here that you may see.")
    separator = b'], "resourceLogs": ['
    async for rows in _logs(visit, id_):
        for group in resource_logs(rows):
            await response.write(separator + json.dumps(group).encode())
            separator = b",\n"
    await response.write(b"]}\n")
    await response.write_eof()
    return response


def _trace_id(visit: Visit) -> str:
    id_ = visit.request.match_info["trace_id"].lower()
    if not id_.isalnum() or not id_.isascii():
        raise NotThere("That is no trace id.")
    return id_


async def _logs(visit: Visit, id_: str) -> AsyncIterator[list[Row]]:
    """Yield the log records of a trace, then those outside any trace that judge something of it."""
    async for rows in _slices(visit, LOGS, id_):
        yield rows
    named = [json.loads(row["names"]) for row in (await visit.ask(NAMES, id_)).rows]
    ids = sorted({str(value) for names in named if isinstance(names, dict) for value in names.values()})
    if ids:
        project = visit.argument("project")
        sql = NAMED.format(marks=", ".join("?" * len(ids)), project=" and project = ?" if project else "")
        yield (await visit.ask(sql, *ids * 4, *([project] if project else []))).rows


async def _slices(visit: Visit, template: str, id_: str, most: int | None = None) -> AsyncIterator[list[Row]]:
    project = visit.argument("project")
    offset = 0
    while most is None or offset < most:
        sql = template.format(project=" and project = ?" if project else "", limit=SLICE, offset=offset)
        answer = await visit.ask(sql, id_, *([project] if project else []))
        if answer.problem:
            raise SpanloopError(answer.problem, hint=answer.hint)
        if answer.rows:
            yield answer.rows
        if len(answer.rows) < SLICE:
            return
        offset += SLICE


async def fixture(visit: Visit) -> web.StreamResponse:
    """Send the trace as a test case: what arrived, and what the ETL made of it, as a statement a program can check."""
    id_ = _trace_id(visit)
    rows = [row async for part in _slices(visit, SPANS, id_, MAX_FIXTURE_SPANS + SLICE) for row in part]
    if not rows:
        raise NotThere("There is no such trace here that you may see.")
    if len(rows) > MAX_FIXTURE_SPANS:
        raise SpanloopError(f"a fixture holds {MAX_FIXTURE_SPANS:,} spans at most", hint="Take the OTLP file instead.")
    steps, set_aside = [await visit.ask(sql, id_) for sql in (STEPS, SET_ASIDE)]
    expected = [
        {"table": "transitions", "where": {"span_id": row["span_id"]}, "equals": {**row, "span_id": row["span_id"]}}
        for row in steps.rows
    ]
    expected += [
        {"table": "rejected", "where": {"span_id": row["span_id"]}, "equals": {"reason": row["reason"]}}
        for row in set_aside.rows
    ]
    logs = [row async for part in _logs(visit, id_) for row in part]
    arrived = {"resourceSpans": resource_spans(rows)} | ({"resourceLogs": resource_logs(logs)} if logs else {})
    name = f"trace-{id_[:8]}"
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/a.json", json.dumps(arrived, indent=1))
        archive.writestr(f"{name}/expected.json", json.dumps({"files": ["a.json"], "expect": expected}, indent=1))
        archive.writestr(
            f"{name}/README.md",
            f"# {name}\n\nSay what must come out, and why. `expected.json` holds what the ETL makes of it now: "
            "change it to what is right. Import `a.json` with `spanloop receiver import`.\n",
        )
    headers = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
    return web.Response(body=sink.getvalue(), content_type="application/zip", headers=headers)


async def picture(visit: Visit) -> web.StreamResponse:
    """Send a picture of a call, as what it says it is and nothing else."""
    answer = await visit.ask(
        CALL.format(times=""),
        _trace_id(visit),
        visit.request.match_info["span_id"],
        visit.argument("project", "default"),
    )
    found = conversation.picture(conversation.of_call(answer.first), visit.whole("n", 0)) if answer.rows else None
    if found is None:
        raise NotThere("There is no such picture.")
    headers = {"Content-Security-Policy": "default-src 'none'; sandbox"}
    return web.Response(body=found[1], content_type=found[0], headers=headers)
