"""Tells from a span alone whether limits of its SDK or writer took something from it: attributes, or ends of values."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator

from etl.dialects.spans import Span

SHORTEST = 64
"""Characters below which values of one length are chance."""

DECODER = json.JSONDecoder(strict=False)
JSON_BEGINS = ("[{", '{"', '["', "[[")
JSON_ENDS = ("]", "}")

SAID = re.compile(r"(?:\.\.\.|…|[\[(<])\s*truncated\b[^\n]{0,40}$", re.IGNORECASE)
"""How writers end a value that they cut and say so."""


NUMBERED = re.compile(r"\.(\d+)\.")
"""Attributes that hold one message, or a part of one, each."""

SIDES = ("input", "prompt"), ("output", "completion")
"""What numbered attributes of what was asked, and of what was answered, have in their names."""


def is_cut(span: Span) -> bool:
    """Tell whether values were cut: JSON that breaks off, or the longest texts all end at one round length.

    `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT` cuts every text at one length and counts nothing. Where each message stands in
    attributes of its own, none of which was cut, a copy of them all in one value takes nothing with its end.
    """
    cut = _cut_names(span)
    return bool(cut) and not (None not in cut and _are_copies(cut, span))


def _cut_names(span: Span) -> set[str | None]:
    """Return the names of the attributes that were cut; None for one of an event."""
    found: set[str | None] = set()
    by_length: dict[int, set[str]] = defaultdict(set)
    names: dict[str, str | None] = {}
    for name, value in _values(span):
        is_whole = value.startswith(JSON_BEGINS) and value.endswith(JSON_ENDS)
        said = not is_whole and "runcated" in value[-SHORTEST:] and SAID.search(value[-SHORTEST:]) is not None
        if said or breaks_off(value):
            found.add(name)
        by_length[len(value)].add(value)
        names[value] = name
    longest = max(by_length, default=0)
    texts = by_length[longest]
    ends_within = all(text[-1].isalnum() or text[-1].isspace() for text in texts)
    if _is_limit(longest) and ends_within and (len(texts) > 1 or all(text[-1].isalnum() for text in texts)):
        found |= {names[text] for text in texts}
    if found:
        found |= {names[text] for text in texts if not text.endswith(JSON_ENDS)}
    return found


def _are_copies(cut: set[str | None], span: Span) -> bool:
    """Tell whether both sides of an exchange stand in numbered attributes of which none was cut."""
    if any(NUMBERED.search(name or "") for name in cut):
        return False
    numbered = [name for name in span.attributes if NUMBERED.search(name)]
    return all(any(word in name for name in numbered for word in side) for side in SIDES)


def breaks_off(value: str) -> bool:
    """Tell whether a text is the beginning of JSON whose end is missing.

    >>> breaks_off('[{"role": "us'), breaks_off('[{"role": "user"}]'), breaks_off("[INST] hello")
    (True, False, False)
    """
    if not value.startswith(JSON_BEGINS) or (value.rstrip().endswith(JSON_ENDS) and _is_balanced(value)):
        return False
    try:  # JSON with other words behind it is somebody's text
        DECODER.raw_decode(value)
    except (ValueError, RecursionError):
        return True
    return False


def _is_balanced(value: str) -> bool:
    """Tell whether as many brackets close as open: those in texts may not, and then parsing decides."""
    return value.count("{") == value.count("}") and value.count("[") == value.count("]")


def _is_limit(length: int) -> bool:
    """Tell whether somebody would choose this length: a multiple of 100, or of 2 as often."""
    return length % 100 == 0 or length & (length - 1) == 0


def _values(span: Span) -> Iterator[tuple[str | None, str]]:
    for name, value in span.attributes.items():
        if isinstance(value, str) and len(value) >= SHORTEST:
            yield name, value
    for event in span.events:
        for value in (event.get("attributes") or {}).values():
            if isinstance(value, str) and len(value) >= SHORTEST:
                yield None, value
