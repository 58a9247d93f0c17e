"""Rows of the receiver's tables as the OTLP/JSON they arrived in."""

import json
from collections.abc import Iterable
from typing import Any

from spanloop.page.questions import Row

KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
STATUS = {"ok": 1, "error": 2}

GROUP = (
    "resource", "resource_schema_url", "resource_dropped_attributes_count", "scope_name", "scope_version",
    "scope_attributes", "scope_schema_url", "scope_dropped_attributes_count",
)  # fmt: skip
"""Columns that rows of one resource and scope have alike."""


def resource_spans(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return rows of `spans` as OTLP's resourceSpans, those of one resource and scope together."""
    return [_grouped(group, "scopeSpans", "spans", [_span(row) for row in own]) for group, own in _groups(rows)]


def resource_logs(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return rows of `log_records` as OTLP's resourceLogs, those of one resource and scope together."""
    return [_grouped(group, "scopeLogs", "logRecords", [_record(row) for row in own]) for group, own in _groups(rows)]


def _groups(rows: Iterable[Row]) -> list[tuple[Row, list[Row]]]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in GROUP), []).append(row)
    return [(own[0], own) for own in groups.values()]


def _grouped(row: Row, scopes: str, items: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    resource = {
        "attributes": _attributes(row["resource"]),
        "droppedAttributesCount": row["resource_dropped_attributes_count"] or 0,
    }
    scope = {
        "name": row["scope_name"] or "",
        "version": row["scope_version"] or "",
        "attributes": _attributes(row["scope_attributes"]),
        "droppedAttributesCount": row["scope_dropped_attributes_count"] or 0,
    }
    return {
        "resource": _told(resource),
        "schemaUrl": row["resource_schema_url"] or "",
        scopes: [{"scope": _told(scope), "schemaUrl": row["scope_schema_url"] or "", items: content}],
    }


def _record(row: Row) -> dict[str, Any]:
    body = {} if row["body"] is None else {"body": _value(json.loads(row["body"]))}
    found = {
        "timeUnixNano": str(row["time_ns"]),
        "observedTimeUnixNano": str(row["observed_ns"] or 0),
        "severityNumber": row["severity_number"] or 0,
        "severityText": row["severity_text"] or "",
        "eventName": row["event_name"] or "",
        "attributes": _attributes(row["attributes"]),
        "droppedAttributesCount": row["dropped_attributes_count"] or 0,
        "flags": row["flags"] or 0,
        "traceId": row["trace_id"] or "",
        "spanId": row["span_id"] or "",
    }
    return _told(found) | body


def _told(found: dict[str, Any]) -> dict[str, Any]:
    """Return what says something: OTLP's JSON leaves out what is empty."""
    return {name: value for name, value in found.items() if value not in ("", [], {}, 0)}


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
    return _told(found)


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
