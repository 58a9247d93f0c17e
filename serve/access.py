"""Who may call the gateway: API keys with the scope `serve`, as `spanloop receiver keys` makes them.

DATA/keys.json holds ids, scopes and the SHA-256 of each key; it is read anew when it changes, so a revoked key is
refused at once. Without a key of that scope everybody on this machine may call, and the gateway listens on loopback
only.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path

from foundation.errors import SettingsError

SCOPE = "serve"


class Unauthenticated(Exception):
    """There is no key with the request, or none we know."""


class Forbidden(Exception):
    """The key is good, and not for this."""


class Access:
    """Tells whether a request may pass."""

    def __init__(self, data: Path) -> None:
        self._path = data / "keys.json"
        self._seen: tuple[int, int] | None = None
        self._keys: dict[str, tuple[str, frozenset[str]]] = {}
        """sha256 and scopes by key id."""

        self._load()

    @property
    def has_keys(self) -> bool:
        """Tell whether any key opens the gateway; from then on every request needs one."""
        self._load()
        return any(SCOPE in scopes for _, scopes in self._keys.values())

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise `Unauthenticated` or `Forbidden` unless the request may pass."""
        if not self.has_keys:
            return
        scheme, _, credentials = headers.get("Authorization", "").partition(" ")
        given = credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        parts = given.split("_", 2)
        digest, scopes = self._keys.get(parts[1], ("", frozenset())) if len(parts) == 3 else ("", frozenset())
        if not hmac.compare_digest(hashlib.sha256(given.encode()).hexdigest(), digest or "0" * 64):
            raise Unauthenticated("an API key is needed: Authorization: Bearer KEY" if not given else "unknown API key")
        if SCOPE not in scopes:
            raise Forbidden(f"this key has no scope {SCOPE}")

    def _load(self) -> None:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            self._keys, self._seen = {}, None
            return
        if seen == self._seen:
            return
        try:
            keys = json.loads(self._path.read_bytes())["keys"]
            self._keys = {key["id"]: (key["sha256"], frozenset(key["scopes"])) for key in keys}
        except (ValueError, KeyError, TypeError) as error:
            # No key must not mean anyone.
            raise SettingsError(
                f"{self._path} is damaged: {type(error).__name__}", hint="Restore it, or make new keys."
            ) from None
        self._seen = seen
