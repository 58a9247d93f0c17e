"""API keys with scopes, each bound to a project, hashed at rest.

    DATA/keys.json    mode 0600; `spanloop receiver keys` writes it, running servers read it anew when it changes

A key is shown once, when it is made. It reads `sl_<id>_<secret>`; the file holds the id and the SHA-256 of the whole
key, whose 192 random bits need no slower hash. A key has a name, and two keys of one name may live at once: rotation is
to make the second, hand it out, and revoke the first.
"""

import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from foundation.errors import SettingsError
from foundation.files import exclusive, write_json

MAX_LIVE = 2
"""Keys of one name that may live at once."""


class Scope(StrEnum):
    """What a key may do."""

    INGEST = "ingest"
    """Send spans and log records."""
    QUERY = "query"
    """Run SQL over its project."""
    REWARD = "reward"
    """Judge traces: its evaluation events count as rewards."""
    SERVE = "serve"
    """Call the gateway."""
    ADMIN = "admin"
    """Run SQL over all projects and read metrics."""


class Unauthenticated(Exception):
    """There is no key with the request, or none we know."""


class Forbidden(Exception):
    """The key is good, and not for this."""


@dataclass(frozen=True)
class Key:
    """A key as it is kept."""

    id: str
    name: str
    project: str
    scopes: tuple[str, ...]
    sha256: str
    created_time: str


def keys_path(data: Path) -> Path:
    """Return the file of the keys."""
    return data / "keys.json"


def read_keys(data: Path) -> list[Key]:
    """Return the keys there are. Raises `SettingsError` for a damaged file: it must not pass for one without keys."""
    try:
        content = keys_path(data).read_bytes()
    except FileNotFoundError:
        return []
    try:
        return [Key(**{**entry, "scopes": tuple(entry["scopes"])}) for entry in json.loads(content)["keys"]]
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{keys_path(data)} is damaged: {type(error).__name__}", hint="Restore it, or remove it and make new keys."
        ) from None


def create_key(data: Path, *, name: str, project: str, scopes: list[Scope]) -> str:
    """Make a key and return its text, which is kept nowhere."""
    with exclusive(data / "keys.lock", purpose="spanloop receiver keys"):
        keys = read_keys(data)
        if sum(key.name == name for key in keys) >= MAX_LIVE:
            raise SettingsError(
                f"{MAX_LIVE} keys named {name} live already",
                hint="Revoke the old one: spanloop receiver keys revoke ID",
            )
        id_ = secrets.token_hex(4)
        text = f"sl_{id_}_{secrets.token_urlsafe(24)}"
        created = datetime.now(UTC).isoformat(timespec="seconds")
        chosen = tuple(sorted({scope.value for scope in scopes}))
        _write(data, [*keys, Key(id_, name, project, chosen, _digest(text), created)])
    return text


def revoke_key(data: Path, id_: str) -> Key:
    """Remove a key; a running server refuses it within a second."""
    with exclusive(data / "keys.lock", purpose="spanloop receiver keys"):
        keys = read_keys(data)
        revoked = next((key for key in keys if key.id == id_), None)
        if revoked is None:
            raise SettingsError(f"there is no key {id_}", hint="spanloop receiver keys list")
        _write(data, [key for key in keys if key is not revoked])
    return revoked


def _write(data: Path, keys: list[Key]) -> None:
    write_json(keys_path(data), {"keys": [asdict(key) for key in keys]})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def presented_key(headers: Mapping[str, str]) -> str:
    """Return the text of the key that came with a request, empty without one. Header names are in lower case."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


class KeyRing:
    """The keys of DATA as they are at this moment: the file is read anew when it changes."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._keys: Mapping[str, Key] = {}
        self.keys()

    def keys(self) -> Mapping[str, Key]:
        """Return the keys by id."""
        try:
            status = keys_path(self._data).stat()
            seen = (status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            seen = (0, 0)
        with self._lock:
            if seen != self._seen:
                self._keys = {key.id: key for key in read_keys(self._data)}
                self._seen = seen
            return self._keys

    def find(self, text: str) -> Key:
        """Return the key of this text. Raises `Unauthenticated`."""
        if not text:
            raise Unauthenticated("an API key is needed: Authorization: Bearer KEY")
        parts = text.split("_", 2)
        key = self.keys().get(parts[1]) if len(parts) == 3 else None
        if not hmac.compare_digest(_digest(text), key.sha256 if key else _digest("")) or key is None:
            raise Unauthenticated("the API key is not known")
        return key
