"""Lets a stage change whatever text stands in an OTLP request."""

from collections.abc import Iterable
from typing import Any

from otel_exporter.stages.cutting import Stage

_NESTED = {"array_value", "kvlist_value"}


def change(request: Any, stage: Stage) -> int:  # noqa: ANN401 - generated classes
    """Put an export request of traces or logs through a stage, in place; return how many of its values changed.

    Attributes of resources, scopes, spans, events, links and log records, bodies, names, messages of status, trace
    states and severities. Of a name that stands twice among attributes, or in a value of them, the last counts; the
    others are removed, and count as changed.
    """
    num_changed = 0
    for resource in request.resource_spans if hasattr(request, "resource_spans") else request.resource_logs:
        num_changed += _attributes([resource.resource.attributes], stage)
        for scope in resource.scope_spans if hasattr(resource, "scope_spans") else resource.scope_logs:
            num_changed += _attributes([scope.scope.attributes], stage)
            for span in getattr(scope, "spans", ()):
                num_changed += _span(span, stage)
            for record in getattr(scope, "log_records", ()):
                num_changed += _record(record, stage)
    return num_changed


def _span(span: Any, stage: Stage) -> int:  # noqa: ANN401
    events, links = list(span.events), list(span.links)
    num_changed = _attributes([span.attributes, *(one.attributes for one in (*events, *links))], stage)
    num_changed += _text(span, "name", stage) + _text(span, "trace_state", stage)
    if span.HasField("status"):
        num_changed += _text(span.status, "message", stage)
    num_changed += sum(_text(event, "name", stage) for event in events)
    return num_changed + sum(_text(one, "trace_state", stage) for one in links)


def _record(record: Any, stage: Stage) -> int:  # noqa: ANN401
    """Change a log record; its body is part of what it says, beside its attributes."""
    attributes, num_removed = _plain(record.attributes)
    num_removed += _keep_last_within(record.body)
    before = [attributes, {"body": _read(record.body)}]
    after, num_changed = stage.span(*before)
    if after[0] != before[0]:
        _write_all(record.attributes, after[0])
    if after[1] != before[1]:
        record.body.Clear()
        if "body" in after[1]:
            _write(record.body, after[1]["body"])
    texts = ("event_name", "severity_text")
    return num_removed + num_changed + sum(_text(record, name, stage) for name in texts if hasattr(record, name))


def _text(holder: Any, field: str, stage: Stage) -> int:  # noqa: ANN401
    before = getattr(holder, field)
    if not before or (after := stage.text(before)) == before:
        return 0
    setattr(holder, field, after)
    return 1


def _attributes(holders: "Iterable[Any]", stage: Stage) -> int:
    holders = list(holders)
    num_removed = 0
    before = []
    for holder in holders:
        values, num = _plain(holder)
        before.append(values)
        num_removed += num
    if not any(before):
        return 0
    after, num_changed = stage.span(*before)
    for holder, old, new in zip(holders, before, after):  # noqa: B905 - CPython 3.10 and older
        if new != old:
            _write_all(holder, new)
    return num_removed + num_changed


def _plain(pairs: Any) -> "tuple[dict[str, Any], int]":  # noqa: ANN401
    """Return attributes as Python has them, and how many had to be removed, which no stage sees.

    Of the values of a name only the last is kept, in values that have names themselves too.
    """
    values = {}
    num_removed = num = 0
    for pair in pairs:
        value = pair.value
        kind = value.WhichOneof("value")
        if kind in _NESTED:
            num_removed += _keep_last_within(value)
            values[pair.key] = _read(value)
        else:
            values[pair.key] = None if kind is None else getattr(value, kind)
        num += 1
    return values, num_removed + (_keep_last(pairs) if len(values) < num else 0)


def _keep_last(pairs: Any) -> int:  # noqa: ANN401
    last = {pair.key: place for place, pair in enumerate(pairs)}
    doubled = [place for place, pair in enumerate(pairs) if last[pair.key] != place]
    for place in reversed(doubled):
        del pairs[place]
    return len(doubled)


def _keep_last_within(value: Any) -> int:  # noqa: ANN401
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        pairs = value.kvlist_value.values
        return sum(_keep_last_within(pair.value) for pair in pairs) + _keep_last(pairs)
    return sum(_keep_last_within(one) for one in value.array_value.values) if kind == "array_value" else 0


def _read(value: Any) -> Any:  # noqa: ANN401
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    held = getattr(value, kind)
    if kind == "array_value":
        return [_read(one) for one in held.values]
    if kind == "kvlist_value":
        return {pair.key: _read(pair.value) for pair in held.values}
    return held


def _write_all(attributes: Any, values: "dict[str, Any]") -> None:  # noqa: ANN401
    del attributes[:]
    for key, one in values.items():
        _write(attributes.add(key=key).value, one)


def _write(value: Any, plain: Any) -> None:  # noqa: ANN401
    if isinstance(plain, bool):
        value.bool_value = plain
    elif isinstance(plain, int):
        value.int_value = plain
    elif isinstance(plain, float):
        value.double_value = plain
    elif isinstance(plain, str):
        value.string_value = plain.encode("utf-8", "replace").decode()
    elif isinstance(plain, bytes):
        value.bytes_value = plain
    elif isinstance(plain, dict):
        value.kvlist_value.SetInParent()
        for key, one in plain.items():
            _write(value.kvlist_value.values.add(key=key).value, one)
    elif plain is not None:
        value.array_value.SetInParent()
        for one in plain:
            _write(value.array_value.values.add(), one)
