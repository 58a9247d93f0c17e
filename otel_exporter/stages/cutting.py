"""Takes what is large and of no use to learning out of a span: images as base64, and ends of long values.

What is taken is said where it was, in words that the ETL reads as cut (nothing is learned from half a message), and
counted on the span (`spanloop.cut`). Standard library only.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from otel_exporter.schema import CUT

SHORTEST_MEDIUM = 1024
"""Characters of base64 below which something is no medium worth cutting."""

_MEDIUM = re.compile(
    r"(?:data:([\w.+-]{1,60}/[\w.+-]{1,60})(?:;[\w=.-]{1,60}){0,4},)?(?:[A-Za-z0-9+/_-]|\\/){1024,}={0,2}"
)


class Stage(Protocol):
    """Changes what a span says. Stages of one kind lie around each other."""

    def span(self, *parts: Mapping[str, Any]) -> "tuple[list[dict[str, Any]], int]":
        """Return the attributes of a span and of each of its events as they may be sent, and how many changed."""

    def text(self, text: str) -> str:
        """Return a text outside attributes, such as the span's name."""


class Cutter:
    """Cuts what the stage inside of it, where there is one, lets through."""

    def __init__(self, inner: "Stage | None", *, media: bool, max_length: "int | None") -> None:
        self._inner = inner
        self._media = media
        self._max_length = max_length

    def text(self, text: str) -> str:
        """Return a text as the stage inside returns it."""
        return text if self._inner is None else self._inner.text(text)

    def span(self, *parts: Mapping[str, Any]) -> "tuple[list[dict[str, Any]], int]":
        """Cut the values of a span and of its events; count them on the span."""
        done, num_changed = self._inner.span(*parts) if self._inner else ([dict(part) for part in parts], 0)
        num_cut = 0
        for part in done:
            for key, value in part.items():
                new = self._value(value)
                if new is not value:
                    part[key] = new
                    num_cut += 1
        if num_cut:
            before = done[0].get(CUT)
            done[0][CUT] = num_cut + (before if isinstance(before, int) else 0)
        return done, num_changed + num_cut

    def _value(self, value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, str):
            return self._cut(value)
        if isinstance(value, bytes):
            is_long = self._max_length is not None and len(value) > self._max_length
            return self._said(len(value)) if is_long or (self._media and len(value) > SHORTEST_MEDIUM) else value
        if isinstance(value, Mapping):
            changed = {key: self._value(one) for key, one in value.items()}
            return changed if any(one is not value[key] for key, one in changed.items()) else value
        if isinstance(value, Sequence):
            items = [self._value(one) for one in value]
            return items if any(one is not before for one, before in zip(items, value)) else value  # noqa: B905
        return value

    def _cut(self, text: str) -> str:
        if self._media and len(text) >= SHORTEST_MEDIUM and _MEDIUM.search(text):
            text = _MEDIUM.sub(_medium_said, text)
        if self._max_length is not None and len(text) > self._max_length:
            return text[: self._max_length] + self._said(len(text))
        return text

    def _said(self, length: int) -> str:
        return f"… truncated, it had {length}"


def _medium_said(match: "re.Match[str]") -> str:
    import hashlib  # loads OpenSSL, which an agent that cuts nothing does without

    data = match.group()
    digest = hashlib.sha256(data.encode()).hexdigest()[:16]
    return f"<redacted> {match.group(1) or 'medium'}, {len(data)} characters, sha256 {digest}"


def stages(environment: Mapping[str, str], prefix: str) -> "Stage | None":
    """Return the stages that variables ask for, the innermost first: redact, cut; None where they ask for none.

    `{prefix}CUT_MEDIA` is `true` or `false` (default), `{prefix}CUT_LENGTH` the most characters of a value (default:
    all); for the rest see `otel_exporter.redaction.redactor`. Raises ValueError for what makes no sense.
    """
    redact = None
    if any(name.startswith(f"{prefix}REDACT") for name in environment):  # its patterns take a while to be compiled
        from otel_exporter.redaction import redactor

        redact = redactor(environment, prefix)
    media = environment.get(f"{prefix}CUT_MEDIA", "").strip().lower()
    if media not in {"", "true", "false", "1", "0"}:
        raise ValueError(f"{prefix}CUT_MEDIA is {media!r}; use true or false")
    length = environment.get(f"{prefix}CUT_LENGTH", "").strip()
    if length and (not length.isdecimal() or int(length) < SHORTEST_MEDIUM):
        raise ValueError(f"{prefix}CUT_LENGTH is {length!r}; use a number of characters, {SHORTEST_MEDIUM} at least")
    if media not in {"true", "1"} and not length:
        return redact
    return Cutter(redact, media=media in {"true", "1"}, max_length=int(length) if length else None)
