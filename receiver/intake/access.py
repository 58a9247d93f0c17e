"""Who sent a request: the holder of an API key, of this run's token, of a client certificate, or anyone on loopback."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foundation.web.keys import Forbidden, KeyRing, KeysUnreadable, Scope, Unauthenticated, presented_key


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

    Once a key was made every request needs one, also when the last was revoked. Without keys a client certificate that
    TLS has verified is enough, and where neither is set up anyone on this machine may do everything.
    """

    def __init__(self, data: Path, *, token: str, needs_certificate: bool = False) -> None:
        self._keys = KeyRing(data)
        self._token = token
        self._needs_certificate = needs_certificate

    def identify(self, headers: Mapping[str, str], *, has_certificate: bool) -> Principal:
        """Return who sent a request with these headers, named in lower case.

        Raises `Unauthenticated`, and `KeysUnreadable` when the keys cannot be read and so nobody be judged.
        """
        given = presented_key(headers)
        if given and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token.encode()):
            return Principal("default", frozenset(Scope), is_local=True)
        if self._keys.are_demanded:
            key = self._keys.find(given)
            return Principal(key.project, frozenset(Scope(scope) for scope in key.scopes))
        if self._needs_certificate and not has_certificate:
            raise Unauthenticated("a client certificate is needed")
        return ANYONE

    @property
    def is_open(self) -> bool:
        """Tell whether whoever reaches the port may do everything."""
        return not (self._keys.are_demanded or self._needs_certificate)

    @property
    def refusal(self) -> str | None:
        """Why nobody can be let in until somebody does something about it; None while that is not so."""
        try:
            self._keys.keys()
        except KeysUnreadable as error:
            return error.said
        return None
