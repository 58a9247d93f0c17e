"""Dialects that users add without a fork: `[[etl.dialects]]` in `spanloop.toml`, an entry a producer.

An entry says by what its spans are known, and where each fact stands in them. What is found there is given the name
that the table has for it, and read by its shape like everything else (`etl.dialects.structure.calls`).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from etl.dialects.shapes.json_values import decode
from etl.dialects.spans import AgentSpan, LlmCall, Span, ToolCall
from etl.dialects.structure import calls as structure
from etl.dialects.structure.names import ENDINGS
from etl.dialects.structure.survey import survey
from etl.settings import DialectEntry
from foundation.errors import SettingsError

NAMES = {
    "input": "own.input",
    "output": "own.output",
    "tools": "own.tools",
    "usage": "own.usage",
    **{field: "own." + endings[-1].replace(" ", ".") for field, endings in ENDINGS.items() if field != "nothing"},
}
"""By field, the name under which what stands at its places is read."""

EVENT = "event:"


def check(entry: DialectEntry) -> None:
    """Raise for an entry with a place for a field that is none: it would silently stay empty."""
    unknown = sorted(set(entry.places) - set(NAMES))
    if unknown:
        raise SettingsError(
            f"[[etl.dialects]] {entry.name}: no field {', '.join(unknown)}",
            hint=f"There are {', '.join(sorted(NAMES))}.",
        )


def recognises(entry: DialectEntry, span: Span) -> bool:
    """Tell whether a span is this producer's."""
    is_named = bool(entry.scope) or entry.attribute is not None
    has_attribute = entry.attribute is None or entry.attribute in span.attributes
    return is_named and span.scope.startswith(entry.scope) and has_attribute


def markers(entry: DialectEntry) -> list[str]:
    """Return texts of which one is in the attributes of this producer's spans."""
    places = [place.removeprefix(EVENT) for listed in entry.places.values() for place in listed]
    names = [entry.attribute or "", *(place.partition("#")[0].partition("/")[0] for place in places)]
    return [name for name in names if name]


def read(span: Span, entries: Sequence[DialectEntry]) -> LlmCall | ToolCall | AgentSpan | None:
    """Read a span by the first entry that recognises it; None where none does, or it is of another kind."""
    entry = next((entry for entry in entries if recognises(entry, span)), None)
    if entry is None:
        return None
    kind = _kind(entry, span)
    found = {NAMES[field]: _first(span, places) for field, places in entry.places.items()}
    attributes = {name: value for name, value in found.items() if value is not None}
    if kind is None or not attributes:
        return None
    made = replace(span, attributes={**attributes, "own.kind": kind}, events=[], logs=[], scope="")
    surveyed = survey(made)
    read_as: LlmCall | ToolCall | AgentSpan | None
    if kind == "llm":
        read_as = structure.read_call(made, surveyed)
    else:
        other = structure.read(made, surveyed)
        read_as = other if isinstance(other, ToolCall | AgentSpan) else None
    if read_as is not None:
        read_as.span, read_as.dialect = span, entry.name
    return read_as


def _kind(entry: DialectEntry, span: Span) -> str | None:
    if entry.kind is None:
        return "llm"
    said = span.attributes.get(entry.kind)
    listed = (("llm", entry.calls), ("tool", entry.tools), ("agent", entry.agents))
    return next((kind for kind, values in listed if said in values), None)


def _first(span: Span, places: Sequence[str]) -> Any:  # noqa: ANN401 - any attribute value
    return next((value for place in places if (value := _at(span, place)) is not None), None)


def _at(span: Span, place: str) -> Any:  # noqa: ANN401 - any attribute value
    name, path, event = _parsed(place)
    if event is None:
        value = span.attributes.get(name)
    else:
        fields = (e.get("attributes") or {} for e in span.events if e.get("name") == event)
        value = next((f[name] for f in fields if name in f), None)
    for key in path:
        value = decode(value)
        if isinstance(value, list) and key.isdigit():
            value = value[int(key)] if int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


@lru_cache(maxsize=1024)
def _parsed(place: str) -> tuple[str, tuple[str, ...], str | None]:
    """Return a place's attribute, the path in its JSON, and the event it is of.

    >>> _parsed("event:done/body#choices.0")
    ('body', ('choices', '0'), 'done')
    """
    event = None
    if place.startswith(EVENT):
        event, _, place = place.removeprefix(EVENT).partition("/")
    name, _, path = place.partition("#")
    return name, tuple(path.split(".")) if path else (), event
