"""Who may ask the page for what: names and origins, keys, sessions, tokens of forms; and what a browser is to refuse.

Without keys everybody on this machine may do everything, as with the receiver, and the page answers to names of this
machine alone. Once a key was made everybody logs in with one; its text stays in this process, the browser gets a random
name for it. Every form carries a token that only the page's own session could know.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foundation.web.browsers import Browsers
from foundation.web.keys import Forbidden, Key, KeyRing, Scope, presented_key

MAX_SESSIONS = 1000
"""Logins that are remembered; the one that has been silent for longest gives way."""

CONTENT_SECURITY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # `no-referrer` would make browsers hide the Origin of our own forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer."""


class NotYours(Exception):
    """The visitor's key is good, and not for this."""


@dataclass(frozen=True)
class Visitor:
    """Whoever asks the page for something."""

    name: str
    """Name of the key, or that no key was asked for."""

    project: str | None
    """The project that is seen; None for all."""

    scopes: frozenset[Scope]
    key: str = ""
    """Text of the key, which the receiver is shown."""

    key_id: str = ""
    form_token: str = ""

    def may(self, scope: Scope) -> bool:
        """Tell whether the scope is there; `admin` reads whatever `query` does."""
        return scope in self.scopes or (scope is Scope.QUERY and Scope.ADMIN in self.scopes)

    @property
    def sees_all(self) -> bool:
        """Tell whether what belongs to no one project is shown: nights, trainings, checkpoints."""
        return Scope.ADMIN in self.scopes

    def require(self, scope: Scope) -> None:
        """Raise `NotYours` unless the scope is there."""
        if not self.may(scope):
            raise NotYours(f"This needs a key with scope {scope.value}; yours has {', '.join(sorted(self.scopes))}.")


@dataclass
class _Session:
    key: str
    last_s: float


class Entrance:
    """Tells who comes with which request."""

    def __init__(self, data: Path, *, session_s: float) -> None:
        self._keys = KeyRing(data)
        self._browsers = Browsers((), paths=None)
        self._session_s = session_s
        self._secret = secrets.token_bytes(32)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    @property
    def needs_key(self) -> bool:
        """Tell whether a visitor has to log in."""
        return self._keys.are_demanded

    def refusal(self, headers: Mapping[str, str], method: str) -> str | None:
        """Say why a request may not pass whoever sends it, None when it may. Header names are in lower case."""
        if not self.needs_key and not headers.get("host"):
            return "the request names no host"
        if self._browsers.refusal(headers, "", is_open=not self.needs_key):
            return "the page answers to its own address alone: open it as http://127.0.0.1 or localhost, or make a key"
        site = headers.get("sec-fetch-site", "none")
        is_visit = headers.get("sec-fetch-mode") == "navigate" and method == "GET"
        if site in {"cross-site", "same-site"} and not is_visit:
            return "another site may link to the page, and neither embed nor send to it"
        return None

    def identify(self, headers: Mapping[str, str], cookie: str) -> Visitor:
        """Return who comes with a session's name, or a key among its headers.

        Raises `Unauthenticated` where a login is needed, `Forbidden`, and `KeysUnreadable`.
        """
        token = self.form_token(cookie)
        if not self.needs_key:
            return Visitor("everybody on this machine", None, frozenset(Scope), form_token=token)
        session = self._sessions.get(cookie)
        if session is not None and time.monotonic() - session.last_s > self._session_s:
            del self._sessions[cookie]
            session = None
        text = presented_key(headers) or (session.key if session else "")
        key = self._keys.find(text)
        if session is not None:
            session.last_s = time.monotonic()
            self._sessions.move_to_end(cookie)
        return _visitor(key, text, token)

    def log_in(self, text: str) -> str:
        """Return the name of a new session for a key. Raises `Unauthenticated`, `Forbidden`, `KeysUnreadable`."""
        visitor = _visitor(self._keys.find(text), text, "")
        if not visitor.may(Scope.QUERY):
            raise Forbidden("this key may not read: the page needs scope query or admin")
        cookie = new_cookie()
        self._sessions[cookie] = _Session(text, time.monotonic())
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return cookie

    def log_out(self, cookie: str) -> None:
        """Forget a session."""
        self._sessions.pop(cookie, None)

    def form_token(self, cookie: str) -> str:
        """Return what a form of this session has to bring."""
        return hmac.new(self._secret, cookie.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def is_own_form(self, cookie: str, token: str) -> bool:
        """Tell whether a form was made for this session."""
        given = token.encode("utf-8", "replace")
        return bool(cookie) and hmac.compare_digest(given, self.form_token(cookie).encode())


def new_cookie() -> str:
    """Return a name for a session that nobody guesses."""
    return secrets.token_urlsafe(24)


def _visitor(key: Key, text: str, token: str) -> Visitor:
    scopes = frozenset(Scope(scope) for scope in key.scopes)
    return Visitor(key.name, None if Scope.ADMIN in scopes else key.project, scopes, text, key.id, token)
