"""Tells from a span alone whether limits of its SDK or writer took something from it: attributes, or ends of values."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator

from etl.dialects.spans import Span

SHORTEST = 64
"""Characters below which the length of one value is chance."""

SHORTEST_OF_SEVERAL = 24
"""Characters below which several values of one length are chance."""

DECODER = json.JSONDecoder(strict=False)
JSON_BEGINS = ("[{", '{"', '["', "[[")
VALUE_BEGINS = re.compile(r"[\[{]*+\s*(?:$|[\[{\]}\"'\d-]|true|false|null|NaN|True|False|None)")
"""How a value begins, JSON or Python's own writing of it; words in two brackets, as of a wiki or DSPy, are a text."""

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
    values = list(_values(span))
    longest = max((len(value) for _, value in values), default=0)
    for name, value in values:
        is_whole = value.startswith(JSON_BEGINS) and value.endswith(JSON_ENDS)
        said = not is_whole and "runcated" in value[-SHORTEST:] and SAID.search(value[-SHORTEST:]) is not None
        if said or ((len(value) >= SHORTEST or len(value) == longest) and breaks_off(value)):
            found.add(name)
        by_length[len(value)].add(value)
        names[value] = name
    texts = by_length[longest]
    told = [text for text in texts if _is_talk(text)]
    if told and _is_limit(longest, len(texts)) and not any(text.rstrip()[-1:] in ENDS for text in told):
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
    >>> breaks_off("[[ ## question ## ]] How many?"), breaks_off('[[ {"role": "us')
    (False, True)
    """
    if (
        not value.startswith(JSON_BEGINS)
        or VALUE_BEGINS.match(value) is None
        or (value.rstrip().endswith(JSON_ENDS) and _is_balanced(value))
    ):
        return False
    try:  # JSON with other words behind it is somebody's text
        DECODER.raw_decode(value)
    except (ValueError, RecursionError):
        return True
    return False


def _is_balanced(value: str) -> bool:
    """Tell whether as many brackets close as open: those in texts may not, and then parsing decides."""
    return value.count("{") == value.count("}") and value.count("[") == value.count("]")


ENDS = frozenset(".?!\"')]}>…。」』»`*\uff01\uff1f")
"""What texts end in of themselves."""


def _is_talk(text: str) -> bool:
    """Tell whether a text is words, not an id or a digest, of which many have one length."""
    return " " in text or "\n" in text or not text.isascii()


def _is_limit(length: int, count: int) -> bool:
    """Tell whether somebody would choose this length, at which so many texts end.

    For one, a multiple of 50, or of 2 as often; for several, of 10 or 8 too, and less than that.
    """
    if count > 1:
        return length >= SHORTEST_OF_SEVERAL and (length % 10 == 0 or length % 8 == 0)
    return length >= SHORTEST and (length % 50 == 0 or length & (length - 1) == 0)


def _values(span: Span) -> Iterator[tuple[str | None, str]]:
    for name, value in span.attributes.items():
        if isinstance(value, str) and len(value) >= SHORTEST_OF_SEVERAL:
            yield name, value
    for event in span.events:
        for value in (event.get("attributes") or {}).values():
            if isinstance(value, str) and len(value) >= SHORTEST_OF_SEVERAL:
                yield None, value
