"""API keys with scopes, each bound to a project, hashed at rest.

    DATA/keys.json    mode 0600; `spanloop receiver keys` writes it, running servers read it anew when it changes

A key is shown once, when it is made. It reads `sl_<id>_<secret>`; the file holds the id and the SHA-256 of the whole
key, whose 192 random bits need no slower hash. A key has a name, and two keys of one name may live at once: rotation is
to make the second, hand it out, and revoke the first.

Keys once made are demanded for good: revoking the last one, damaging the file or removing it shuts everybody out until
there is a key again. Only a directory that never had keys (neither `keys.json` nor `keys.lock`) asks for none.
"""

import contextlib
import hashlib
import hmac
import json
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from foundation.errors import SettingsError
from foundation.files import exclusive, make_directory, write_json
from foundation.narration import get_logger

log = get_logger("keys")

MAX_LIVE = 2
"""Keys of one name that may live at once."""

MAX_NAME_LENGTH = 200
"""Longest name of a key and of a project, characters."""

VERSION = 1
"""Version of the file."""

KEY_TEXT = re.compile(r"sl_[0-9a-f]{8}_[A-Za-z0-9_-]{32,128}")


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


class KeysUnreadable(SettingsError):
    """The file of the keys is there, or was, and cannot be read: nobody is let in, and nobody turned away for good."""

    said = "the API keys cannot be read at the moment; the log of this server says why"
    """What whoever asked is told: where the file lies and what is wrong with it is its owner's business alone."""


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


def are_demanded(data: Path) -> bool:
    """Tell whether DATA has keys, or had some: then a request without one is refused."""
    return keys_path(data).exists() or _lock_path(data).exists()


def read_keys(data: Path) -> list[Key]:
    """Return the keys there are. Raises `KeysUnreadable` for a damaged or lost file: it must not pass for no keys."""
    path = keys_path(data)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if _lock_path(data).exists():
            raise KeysUnreadable(
                f"{path} is gone, though keys were made here",
                hint=f"Restore it, or make new keys; to go without keys remove {_lock_path(data)} too.",
            ) from None
        return []
    except OSError as error:
        raise KeysUnreadable(
            f"{path} cannot be read: {error.strerror}",
            hint="Give it to the user the receiver runs as (chown), and make keys as that user.",
        ) from None
    try:
        document = json.loads(content)
        if isinstance(document, dict) and isinstance(found := document.get("version"), int) and found > VERSION:
            raise KeysUnreadable(
                f"{path} has layout {found}; this release reads {VERSION}", hint="Use the release that wrote it."
            )
        keys = [_read_key(entry) for entry in document["keys"]]
        is_whole = document.get("sha256", digest := _digest_of_all(document["keys"])) == digest
    except (ValueError, KeyError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise KeysUnreadable(f"{path} is damaged", hint="Restore it, or remove it and make new keys.")
    return keys


def _read_key(entry: dict[str, Any]) -> Key:
    return Key(**{**entry, "scopes": tuple(Scope(scope).value for scope in entry["scopes"])})


def create_key(data: Path, *, name: str, project: str, scopes: list[Scope]) -> str:
    """Make a key and return its text, which is kept nowhere. Raises `SettingsError` for a name that is none."""
    for flag, value in (("--name", name), ("--project", project)):
        check_name(value, flag)
    with _changing(data):
        keys = read_keys(data) if keys_path(data).exists() else []
        _check_room(keys, name)
        id_ = secrets.token_hex(4)
        text = f"sl_{id_}_{secrets.token_urlsafe(24)}"
        created = datetime.now(UTC).isoformat(timespec="seconds")
        chosen = tuple(sorted({scope.value for scope in scopes}))
        _write(data, [*keys, Key(id_, name, project, chosen, _digest(text), created)])
    return text


def register_key(data: Path, text: str, *, name: str, project: str, scopes: list[Scope]) -> Key:
    """Let in the holder of a key that was made elsewhere, such as a cluster's secret; doing it again changes nothing.

    Several directories may know the same key, and a rollout states it each time. Raises `SettingsError` for a text that
    is no key, for a key that is known as something else, and for a name as `create_key` does.
    """
    for flag, value in (("--name", name), ("--project", project)):
        check_name(value, flag)
    if not KEY_TEXT.fullmatch(text):
        raise SettingsError(
            "the file holds no key: sl_, 8 hex digits, _ and at least 32 letters, digits, - or _",
            hint='Make one: echo "sl_$(openssl rand -hex 4)_$(openssl rand -hex 24)"',
        )
    chosen = tuple(sorted({scope.value for scope in scopes}))
    id_ = text.split("_", 2)[1]
    with _changing(data):
        keys = read_keys(data) if keys_path(data).exists() else []
        known = next((key for key in keys if key.id == id_), None)
        if known is not None:
            if (known.name, known.project, known.scopes, known.sha256) != (name, project, chosen, _digest(text)):
                raise SettingsError(
                    f"there is a key {id_} already, named {known.name}, of project {known.project}, with the scopes "
                    f"{', '.join(known.scopes)}",
                    hint=f"Revoke it first: spanloop receiver keys revoke {id_}",
                )
            return known
        _check_room(keys, name)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        key = Key(id_, name, project, chosen, _digest(text), created)
        _write(data, [*keys, key])
    return key


def _check_room(keys: list[Key], name: str) -> None:
    if sum(key.name == name for key in keys) >= MAX_LIVE:
        raise SettingsError(
            f"{MAX_LIVE} keys named {name} live already", hint="Revoke the old one: spanloop receiver keys revoke ID"
        )


def check_name(value: str, what: str) -> None:
    """Raise `SettingsError` unless a name of a key or project says something, on one line, at a bounded length."""
    if not value.strip() or not value.isprintable() or len(value) > MAX_NAME_LENGTH:
        shown = f"{value[:20]!r}, {len(value)} characters"
        raise SettingsError(
            f"{what} {shown} is no name", hint=f"Use 1 to {MAX_NAME_LENGTH} printable characters: {what} agents"
        )


def revoke_key(data: Path, id_: str) -> Key:
    """Remove a key; a running server refuses it within a second."""
    if not are_demanded(data):
        raise SettingsError(
            f"{data} has no keys", hint="Check --data; spanloop receiver keys list shows what there is."
        )
    with _changing(data):
        keys = read_keys(data)
        revoked = next((key for key in keys if key.id == id_), None)
        if revoked is None:
            raise SettingsError(f"there is no key {id_}", hint="spanloop receiver keys list")
        _write(data, [key for key in keys if key is not revoked])
    return revoked


@contextlib.contextmanager
def _changing(data: Path) -> Iterator[None]:
    """Hold the keys while they change. Raises `SettingsError` where this user cannot write them."""
    try:
        make_directory(data)
        with exclusive(_lock_path(data), purpose="spanloop receiver keys"):
            yield
    except PermissionError as error:
        raise SettingsError(
            f"the keys in {data} cannot be changed by this user: {error.strerror}",
            hint="Run it as the user the receiver runs as (sudo -u USER), or as root.",
        ) from None


def _lock_path(data: Path) -> Path:
    return data / "keys.lock"


def _write(data: Path, keys: list[Key]) -> None:
    entries = json.loads(json.dumps([asdict(key) for key in keys]))
    write_json(keys_path(data), {"version": VERSION, "sha256": _digest_of_all(entries), "keys": entries})


def _digest_of_all(entries: object) -> str:
    return _digest(json.dumps(entries, sort_keys=True))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def presented_key(headers: Mapping[str, str]) -> str:
    """Return the text of the key that came with a request, empty without one. Header names are in lower case."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


class KeyRing:
    """The keys of DATA as they are at this moment: the file is read anew when it changes.

    Once a key was seen, keys are demanded for the life of the process, whatever becomes of the files.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: Mapping[str, Key] = {}
        self._were_seen = False
        self._trouble: str | None = None
        self.keys()

    def keys(self) -> Mapping[str, Key]:
        """Return the keys by id. Raises `KeysUnreadable`."""
        try:
            status = keys_path(self._data).stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_mode)
        except OSError:  # reading it says why
            seen = None
        with self._lock:
            if seen is None or seen != self._seen:
                self._seen = None  # what cannot be read is tried again at the next request
                self._keys = {key.id: key for key in self._read()}
                self._seen = seen
            self._were_seen |= seen is not None
            return self._keys

    def _read(self) -> list[Key]:
        """Return the keys; narrate once what keeps them from being read, since those who ask are not told."""
        try:
            keys = read_keys(self._data)
        except KeysUnreadable as error:
            if error.message != self._trouble:
                log.error(  # noqa: TRY400 - one line says it
                    "the API keys cannot be read; nobody is let in", reason=error.message, hint=error.hint
                )
            self._trouble = error.message
            raise
        self._trouble = None
        return keys

    @property
    def are_demanded(self) -> bool:
        """Tell whether a request needs a key."""
        return self._were_seen or are_demanded(self._data)

    def find(self, text: str) -> Key:
        """Return the key of this text. Raises `Unauthenticated`, and `KeysUnreadable` when nobody can be judged."""
        if not text:
            raise Unauthenticated("an API key is needed: Authorization: Bearer KEY")
        parts = text.split("_", 2)
        key = self.keys().get(parts[1]) if len(parts) == 3 else None
        if not hmac.compare_digest(_digest(text), key.sha256 if key else _digest("")) or key is None:
            raise Unauthenticated("the API key is not known")
        if not 0 < len(key.project) <= MAX_NAME_LENGTH:
            raise Forbidden(f"the project of this key has {len(key.project)} characters; make another key")
        return key
