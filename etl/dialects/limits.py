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


def is_cut(span: Span) -> bool:
    """Tell whether values were cut: JSON that breaks off, or the longest texts all end at one round length.

    `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT` cuts every text at one length and counts nothing.
    """
    by_length: dict[int, set[str]] = defaultdict(set)
    for value in _values(span):
        if breaks_off(value):
            return True
        if "runcated" in value[-SHORTEST:] and SAID.search(value[-SHORTEST:]) is not None:
            return True
        by_length[len(value)].add(value)
    if not by_length:
        return False
    longest = max(by_length)
    texts = by_length[longest]
    ends_within = all(text[-1].isalnum() or text[-1].isspace() for text in texts)
    return len(texts) > 1 and _is_limit(longest) and ends_within


def breaks_off(value: str) -> bool:
    """Tell whether a text is the beginning of JSON whose end is missing.

    >>> breaks_off('[{"role": "us'), breaks_off('[{"role": "user"}]'), breaks_off("[INST] hello")
    (True, False, False)
    """
    if not value.startswith(JSON_BEGINS) or value.rstrip().endswith(JSON_ENDS):
        return False
    try:  # JSON with other words behind it is somebody's text
        DECODER.raw_decode(value)
    except (ValueError, RecursionError):
        return True
    return False


def _is_limit(length: int) -> bool:
    """Tell whether somebody would choose this length: a multiple of 100, or of 2 as often."""
    return length % 100 == 0 or length & (length - 1) == 0


def _values(span: Span) -> Iterator[str]:
    for value in span.attributes.values():
        if isinstance(value, str) and len(value) >= SHORTEST:
            yield value
    for event in span.events:
        for value in (event.get("attributes") or {}).values():
            if isinstance(value, str) and len(value) >= SHORTEST:
                yield value
