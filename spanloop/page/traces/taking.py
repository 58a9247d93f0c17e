"""What a trace is taken away as: OTLP as it would arrive, a test fixture, a picture of a call."""

import io
import json
import zipfile
from collections.abc import AsyncIterator, Iterable
from typing import Any

from aiohttp import web

from foundation.errors import SpanloopError
from spanloop.page.questions import Row
from spanloop.page.traces import conversation
from spanloop.page.traces.judged import CALL
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

KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
STATUS = {"ok": 1, "error": 2}


async def otlp(visit: Visit) -> web.StreamResponse:
    """Send the trace as one OTLP/JSON request, which `spanloop receiver import` and any Collector take."""
    id_ = _trace_id(visit)
    response = web.StreamResponse(
        headers={"Content-Type": "application/json", "Content-Disposition": f'attachment; filename="{id_[:40]}.json"'}
    )
    separator = b'{"resourceSpans": ['
    async for rows in _slices(visit, id_):
        if not response.prepared:
            await response.prepare(visit.request)
        for group in as_otlp(rows):
            await response.write(separator + json.dumps(group).encode())
            separator = b",\n"
    if not response.prepared:
        raise NotThere("There is no such trace here that you may see.")
    await response.write(b"]}\n")
    await response.write_eof()
    return response


def _trace_id(visit: Visit) -> str:
    id_ = visit.request.match_info["trace_id"].lower()
    if not id_.isalnum() or not id_.isascii():
        raise NotThere("That is no trace id.")
    return id_


async def _slices(visit: Visit, id_: str, most: int | None = None) -> AsyncIterator[list[Row]]:
    project = visit.argument("project")
    offset = 0
    while most is None or offset < most:
        sql = SPANS.format(project=" and project = ?" if project else "", limit=SLICE, offset=offset)
        answer = await visit.ask(sql, id_, *([project] if project else []))
        if answer.problem:
            raise SpanloopError(answer.problem, hint=answer.hint)
        if answer.rows:
            yield answer.rows
        if len(answer.rows) < SLICE:
            return
        offset += SLICE


def as_otlp(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return rows of `spans` as OTLP's resourceSpans, those of one resource and scope together."""
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = (
            row["resource"],
            row["resource_schema_url"],
            row["scope_name"],
            row["scope_version"],
            row["scope_attributes"],
        )
        if key not in groups:
            scope = {"name": row["scope_name"] or "", "attributes": _attributes(row["scope_attributes"])}
            groups[key] = {
                "resource": {"attributes": _attributes(row["resource"])},
                "schemaUrl": row["resource_schema_url"] or "",
                "scopeSpans": [
                    {
                        "scope": scope | ({"version": row["scope_version"]} if row["scope_version"] else {}),
                        "schemaUrl": row["scope_schema_url"] or "",
                        "spans": [],
                    }
                ],
            }
        groups[key]["scopeSpans"][0]["spans"].append(_span(row))
    return list(groups.values())


def _span(row: Row) -> dict[str, Any]:
    status = {"code": STATUS[row["status_code"]]} if row["status_code"] in STATUS else {}
    found = {
        "traceId": row["trace_id"],
        "spanId": row["span_id"],
        "parentSpanId": row["parent_span_id"] or "",
        "traceState": row["trace_state"] or "",
        "flags": row["flags"] or 0,
        "name": row["name"],
        "kind": KINDS.get(row["kind"], 0),
        "startTimeUnixNano": str(row["start_ns"]),
        "endTimeUnixNano": str(row["end_ns"]),
        "attributes": _attributes(row["attributes"]),
        "events": [
            {
                "name": event.get("name") or "",
                "timeUnixNano": str(event.get("time_ns") or 0),
                "attributes": _attributes(event.get("attributes")),
                "droppedAttributesCount": event.get("dropped_attributes_count") or 0,
            }
            for event in _list(row["events"])
        ],
        "links": [
            {
                "traceId": link.get("trace_id") or "",
                "spanId": link.get("span_id") or "",
                "traceState": link.get("trace_state") or "",
                "attributes": _attributes(link.get("attributes")),
                "flags": link.get("flags") or 0,
            }
            for link in _list(row["links"])
        ],
        "status": status | ({"message": row["status_message"]} if row["status_message"] else {}),
        "droppedAttributesCount": row["dropped_attributes_count"] or 0,
        "droppedEventsCount": row["dropped_events_count"] or 0,
        "droppedLinksCount": row["dropped_links_count"] or 0,
    }
    return {name: value for name, value in found.items() if value not in ("", [], {}, 0)}


def _list(text: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON text or nothing
    found = json.loads(text) if isinstance(text, str) and text else text or []
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _attributes(text: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON text, an object or nothing
    found = json.loads(text) if isinstance(text, str) and text else text or {}
    return [{"key": name, "value": _value(value)} for name, value in found.items()]


def _value(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return a value in OTLP's JSON, undoing what `receiver.schema` says of JSON columns."""
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)} if abs(value) < 1 << 63 else {"doubleValue": float(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case list():
            return {"arrayValue": {"values": [_value(item) for item in value]}}
        case {"$bytes": str(data), **rest} if not rest:
            return {"bytesValue": data}
        case {"$double": str(name), **rest} if not rest:
            return {"doubleValue": name}
    return {"kvlistValue": {"values": [{"key": name, "value": _value(item)} for name, item in value.items()]}}


async def fixture(visit: Visit) -> web.StreamResponse:
    """Send the trace as a test case: what arrived, and what the ETL made of it, as a statement a program can check."""
    id_ = _trace_id(visit)
    rows = [row async for part in _slices(visit, id_, MAX_FIXTURE_SPANS + SLICE) for row in part]
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
    name = f"trace-{id_[:8]}"
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/a.json", json.dumps({"resourceSpans": as_otlp(rows)}, indent=1))
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
        CALL, _trace_id(visit), visit.request.match_info["span_id"], visit.argument("project", "default")
    )
    found = conversation.picture(conversation.of_call(answer.first), visit.whole("n", 0)) if answer.rows else None
    if found is None:
        raise NotThere("There is no such picture.")
    headers = {"Content-Security-Policy": "default-src 'none'; sandbox"}
    return web.Response(body=found[1], content_type=found[0], headers=headers)
