"""Who sent a request: the holder of an API key, of this run's token, of a client certificate, or anyone on loopback."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foundation.keys import Forbidden, KeyRing, Scope, Unauthenticated, presented_key


@dataclass(frozen=True)
class Principal:
    """Whoever sent a request."""

    project: str
    scopes: frozenset[Scope]
    is_local: bool = False
    """It holds the token of this run, which only the receiver's own user can read."""

    def require(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the scope is there."""
        if scope not in self.scopes:
            raise Forbidden(f"this key has no scope {scope.value}")

    @property
    def visible_project(self) -> str | None:
        """The project that queries see; None means all."""
        return None if Scope.ADMIN in self.scopes else self.project


ANYONE = Principal("default", frozenset(Scope))
"""On loopback without keys, everybody on this machine."""


class Access:
    """Tells who sent a request.

    Once a key exists every request needs one. Without keys a client certificate that TLS has verified is enough, and
    where neither is set up anyone on this machine may do everything.
    """

    def __init__(self, data: Path, *, token: str, needs_certificate: bool = False) -> None:
        self._keys = KeyRing(data)
        self._token = token
        self._needs_certificate = needs_certificate

    def identify(self, headers: Mapping[str, str], *, has_certificate: bool) -> Principal:
        """Return who sent a request with these headers, named in lower case. Raises `Unauthenticated`."""
        given = presented_key(headers)
        if given and hmac.compare_digest(given.encode(), self._token.encode()):
            return Principal("default", frozenset(Scope), is_local=True)
        if self._keys.keys():
            key = self._keys.find(given)
            return Principal(key.project, frozenset(Scope(scope) for scope in key.scopes))
        if self._needs_certificate and not has_certificate:
            raise Unauthenticated("a client certificate is needed")
        return ANYONE
