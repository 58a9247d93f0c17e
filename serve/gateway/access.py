"""Who may call the gateway: holders of an API key with the scope `serve`, as `spanloop receiver keys` makes them.

Without a key of that scope everybody on this machine may call, and the gateway listens on loopback only.
"""

from collections.abc import Mapping
from pathlib import Path

from foundation.web.keys import Forbidden, KeyRing, Scope, presented_key, read_keys


class Access:
    """Tells whether a request may pass."""

    def __init__(self, data: Path) -> None:
        self._keys = KeyRing(data)
        self._were_seen = False

    @property
    def has_keys(self) -> bool:
        """Tell whether requests need a key: one opened the gateway since it started, revoked by now or not.

        Raises `KeysUnreadable`.
        """
        self._were_seen |= any(Scope.SERVE in key.scopes for key in self._keys.keys().values())
        return self._were_seen

    def is_open(self) -> bool:
        """Tell whether everybody on this machine may call."""
        return not self.has_keys

    def check(self, headers: Mapping[str, str]) -> str | None:
        """Return the project of the request's key, null while there are none.

        Raises `Unauthenticated` or `Forbidden` unless the request may pass, `KeysUnreadable` when nobody can be judged.
        """
        if self.is_open():
            return None
        key = self._keys.find(presented_key({name.lower(): value for name, value in headers.items()}))
        if Scope.SERVE not in key.scopes:
            raise Forbidden(f"this key has no scope {Scope.SERVE}")
        return key.project


def has_admins(data: Path) -> bool:
    """Tell whether there is a key of scope admin, whose holder may change what is live. Raises `KeysUnreadable`."""
    return any(Scope.ADMIN in key.scopes for key in read_keys(data))
