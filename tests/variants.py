"""Recordings as other writers, processors and limits would have left them, and which transitions are not what passed.

What a variant holds is what its recording holds, under other names, in other places, or less of it. Whatever comes out
of one as a transition must be what was on the wire: a state and an action that the model server logged.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import polars as pl

from etl.tables import Dataset

Row = dict[str, Any]
Change = Callable[[Row], Row]

PREFIXES = (
    "gen_ai.",
    "llm.",
    "openinference.",
    "traceloop.",
    "genkit:",
    "lmnr.",
    "mastra.",
    "langtrace.",
    "sentry.",
    "langfuse.",
    "tanstack.",
    "mlflow.",
    "agentops.",
    "litellm.",
)
"""What producers' names begin with."""


NUMBERED = re.compile(r"\.\d+(\.|$)")


def changed(frame: pl.DataFrame, change: Change) -> pl.DataFrame:
    """Return spans or log records with a change made to each, whose attributes and events are values there."""
    parsed = ("attributes", "events") if "events" in frame.columns else ("attributes", "body")
    rows = []
    for row in frame.iter_rows(named=True):
        made = change({**row, **{name: json.loads(row[name] or "null") for name in parsed}})
        rows.append({**made, **{name: json.dumps(made[name]) for name in parsed}})
    return pl.DataFrame(rows, schema=frame.schema)


def _renamed(name: str) -> str:
    prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
    return name if prefix is None else "acme." + name[len(prefix) :]


def _with_attributes(row: Row, change: Callable[[str, Any], tuple[str, Any]]) -> Row:
    attributes = dict(change(name, value) for name, value in row["attributes"].items())
    return {**row, "attributes": attributes}


def rename(row: Row) -> Row:
    """Give a span another producer's prefix and scope."""
    events = [
        {
            **event,
            "name": _renamed(event["name"]),
            "attributes": {_renamed(k): v for k, v in event["attributes"].items()},
        }
        for event in row["events"]
    ]
    return {
        **_with_attributes(row, lambda name, value: (_renamed(name), value)),
        "events": events,
        "scope_name": "acme",
    }


def _camel(name: str) -> str:
    head, *rest = name.replace(":", ".").split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def camel(row: Row) -> Row:
    """Spell a span's names as JavaScript would."""
    return _with_attributes(rename(row), lambda name, value: (_camel(name), value))


def _is_json(value: Any) -> bool:
    return isinstance(value, str) and value[:1] in ("[", "{")


def _is_payload(name: str, value: Any) -> bool:
    """Tell whether an attribute holds JSON that is no text of a message's, which has an attribute of its own there."""
    return _is_json(value) and NUMBERED.search(name) is None


def double(row: Row) -> Row:
    """Write a span's JSON values as the JSON of a text."""
    return _with_attributes(
        rename(row), lambda name, value: (name, json.dumps(value) if _is_payload(name, value) else value)
    )


def listed(row: Row) -> Row:
    """Put a span's JSON values into lists of one."""
    return _with_attributes(rename(row), lambda name, value: (name, [value] if _is_payload(name, value) else value))


def event(row: Row) -> Row:
    """Move a span's JSON values into an event of it."""
    made = rename(row)
    moved = {name: value for name, value in made["attributes"].items() if _is_payload(name, value)}
    if not moved:
        return made
    rest = {name: value for name, value in made["attributes"].items() if name not in moved}
    told = {"name": "acme.details", "time_ns": row["start_ns"], "attributes": moved}
    return {**made, "attributes": rest, "events": [*made["events"], told]}


def bag(row: Row) -> Row:
    """Put all that a span says into one value."""
    made = rename(row)
    return (
        {**made, "attributes": {"acme.payload": json.dumps(made["attributes"])}}
        if len(made["attributes"]) > 2
        else made
    )


def unwrapped(row: Row) -> Row:
    """Write a span's JSON objects as structured attribute values."""
    return _with_attributes(
        rename(row),
        lambda name, value: (name, json.loads(value) if _is_payload(name, value) and _is_object(value) else value),
    )


def _is_object(value: Any) -> bool:
    try:
        return _is_json(value) and isinstance(json.loads(value), dict | list)
    except ValueError:
        return False


def turned(row: Row) -> Row:
    """Turn the order of a span's attributes round."""
    made = rename(row)
    return {**made, "attributes": dict(reversed(made["attributes"].items()))}


VARIANTS: dict[str, Change] = {
    one.__name__: one for one in (rename, camel, double, listed, event, bag, unwrapped, turned)
}


def without(name: str, span_id: str | None = None) -> Change:
    """Return the change that takes an attribute from every span, or from one."""

    def drop(row: Row) -> Row:
        if span_id is not None and row["span_id"] != span_id:
            return row
        return {**row, "attributes": {key: value for key, value in row["attributes"].items() if key != name}}

    return drop


def cut_at(length: int) -> Change:
    """Return the change that cuts every text at a length, as `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT` does."""

    def cut(row: Row) -> Row:
        made = _with_attributes(row, lambda name, value: (name, _cut(value, length)))
        events = row.get("events")
        if events:
            made["events"] = [
                {**one, "attributes": {k: _cut(v, length) for k, v in one["attributes"].items()}} for one in events
            ]
        return made

    return cut


def _cut(value: Any, length: int) -> Any:
    if isinstance(value, list):
        return [_cut(item, length) for item in value]
    return value[:length] if isinstance(value, str) else value


def said(messages: list[dict[str, Any]] | None) -> str:
    """Return what messages say: who, the text, the calls of tools, and which of them a result answers."""
    return json.dumps(
        [
            (
                message["role"],
                message.get("text") or message.get("refusal") or None,
                [(call["name"], call["arguments"]) for call in message.get("tool_calls") or ()],
            )
            for message in messages or ()
        ],
        sort_keys=True,
    )


def wrong(dataset: Dataset, expected: dict[str, Any], known: frozenset[tuple[str, str]] = frozenset()) -> list[Row]:
    """Return the transitions whose state or action are not those of one exchange that the server logged."""
    truth = {
        (said(call["input"]), said([answer]))
        for call in expected["llm_calls"]
        for answer in call["output"] or ()
        if all(isinstance(message, dict) and "role" in message for message in (*(call["input"] or ()), answer))
    }
    return [row for row in dataset.tables["transitions"].iter_rows(named=True) if exchange(row) not in truth | known]


def exchange(row: Row) -> tuple[str, str]:
    """Return a transition's state and action by what they say."""
    action = json.loads(row["action"])
    return said(json.loads(row["observation"])), said(action if isinstance(action, list) else [action])


def exchanges(dataset: Dataset) -> frozenset[tuple[str, str]]:
    """Return the exchanges of a run's transitions."""
    return frozenset(exchange(row) for row in dataset.tables["transitions"].iter_rows(named=True))
