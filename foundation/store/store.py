"""What a store offers.

Whatever may change is a pointer: one object, written by `create` and `replace` alone, which say what they expect to be
there. All else is written once, under a name that holds its digest, so that whoever writes it again changes nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from foundation.errors import SettingsError, SpanloopError

SEGMENT = re.compile(r"[A-Za-z0-9_=%+-][A-Za-z0-9._=%+-]{0,199}")
"""One part of a key; none begins with a point, so that none leads elsewhere or is another's temporary file."""


class Superseded(SpanloopError):
    """A pointer is not what its writer took it for: somebody else has written it."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object's content, and the tag that says which of its versions that is."""

    content: bytes
    tag: str


class Store(Protocol):
    """Objects by key, `a/b/c`. Every method may raise `Busy` when the store does not answer."""

    url: str

    def get(self, key: str) -> Found | None:
        """Return an object; None where there is none."""
        ...

    def put(self, key: str, content: bytes) -> None:
        """Write an object whose key says its content. Durable on return."""
        ...

    def create(self, key: str, content: bytes) -> str:
        """Write a pointer that is not there yet; return its tag. Raises `Superseded` when there is another."""
        ...

    def replace(self, key: str, content: bytes, tag: str) -> str:
        """Write a pointer that has this tag; return its new one. Raises `Superseded` when it has not, or is gone."""
        ...

    def remove(self, key: str) -> None:
        """Remove an object, where it is there."""
        ...

    def names(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield key and size of every object below a prefix, in order."""
        ...

    def upload(self, key: str, path: Path) -> None:
        """Write a file as an object whose key says its content, in parts where it is large."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Write an object into a new file. Raises `FileNotFoundError` where there is none."""
        ...


def checked(key: str) -> str:
    """Return a key; raise `SettingsError` for one that no store may have.

    >>> checked("leases/etl.json")
    'leases/etl.json'
    """
    if not all(SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise SettingsError(f"{key[:200]!r} cannot be the name of an object in a store")
    return key


def key_of(*parts: str) -> str:
    """Return the key made of names that others chose.

    >>> key_of("days", "2026-11-30", "../shop é")
    'days/2026-11-30/%2E.%2Fshop%20%C3%A9'
    """
    quoted = (quote(part, safe="") or "%" for part in parts)
    return checked("/".join(f"%2E{part[1:]}" if part.startswith(".") else part for part in quoted))
