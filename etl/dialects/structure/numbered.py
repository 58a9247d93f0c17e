"""Attributes with numbers in their names, put together to the lists and objects that a writer spread out."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from etl.dialects.shapes.messages.names import content_of

NUMBERED = re.compile(r"\.\d+(\.|$)|\[\d+\]")


def grouped(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Part attributes from the numbered ones, which are put together by what stands before the number."""
    plain: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}
    for name, value in attributes.items():
        if NUMBERED.search(name):
            head, rest = _split(name)
            groups.setdefault(head, {})[rest] = value
        else:
            plain[name] = value
    return plain, groups


def _split(name: str) -> tuple[str, str]:
    name = name.replace("[", ".").replace("]", "")
    parts = name.split(".")
    at = next(position for position, part in enumerate(parts) if part.isdigit())
    return ".".join(parts[:at]), ".".join(parts[at:])


def nested(fields: dict[str, Any]) -> tuple[list[Any], bool]:
    """Return the list that attributes `N.rest` spread out, and whether entries of it are missing."""
    entries: dict[int, Any] = {}
    deeper: dict[int, dict[str, Any]] = {}
    for rest, value in fields.items():
        head, _, tail = rest.partition(".")
        if not tail:
            entries[int(head)] = value
        else:
            deeper.setdefault(int(head), {})[tail] = value
    for number, inner in deeper.items():
        entries[number] = _object(inner)
    order = sorted(entries)
    has_gaps = bool(order) and (order[0] > 1 or order[-1] - order[0] >= len(order))
    return [entries[number] for number in order], has_gaps


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    deeper: dict[str, dict[str, Any]] = {}
    for name, value in fields.items():
        head, _, tail = name.partition(".")
        if not tail:
            made[head] = _text_of(value) if head in ("content", "text", "message") else value
        else:
            deeper.setdefault(head, {})[tail] = value
    for head, inner in deeper.items():
        is_list = all(name.partition(".")[0].isdigit() for name in inner)
        made[head] = nested(inner)[0] if is_list else _object(inner)
    return made


def _text_of(value: Any) -> Any:  # noqa: ANN401 - any attribute value
    """Return a message's content; LangChain's empty one comes as the JSON of the empty text."""
    return "" if value == '""' else content_of(value)


@lru_cache(maxsize=2048)
def has_gaps(names: tuple[str, ...]) -> bool:
    """Tell whether numbered names lack numbers at their beginning or in their middle: the SDK dropped these.

    >>> has_gaps(("m.0.a", "m.1.a")), has_gaps(("m.4.a", "m.5.a"))
    (False, True)
    """
    numbers: dict[str, set[int]] = {}
    for name in names:
        if NUMBERED.search(name) is not None:
            head, rest = _split(name)
            numbers.setdefault(head, set()).add(int(rest.partition(".")[0]))
    first = min((min(found) for found in numbers.values()), default=0)
    is_from_zero = first == 0
    return any(
        min(found) > (0 if is_from_zero else 1) or max(found) - min(found) >= len(found) for found in numbers.values()
    )
