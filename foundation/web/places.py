"""Servers of ours on other machines: each is named by a URL, and the key that is shown to it lies in a file.

What a command was told (`--receiver`, `--control`, `--key-file`) it keeps in its environment, so that the stages and
workers it starts know it as well. Where nothing is named, the servers that hold DATA on this machine are meant.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from foundation.directories import STORES
from foundation.errors import SettingsError

RECEIVER = "SPANLOOP_RECEIVER"
CONTROL = "SPANLOOP_CONTROL"
KEY_FILE = "SPANLOOP_KEY_FILE"
STORE = "SPANLOOP_STORE"
VARIABLES = (RECEIVER, CONTROL, KEY_FILE, STORE)


@dataclass(frozen=True)
class Place:
    """A server of ours on another machine."""

    url: str
    """`http(s)://HOST:PORT`, or a store's, without a slash at its end."""

    key: str = field(repr=False)
    """Text of the key it is shown; empty where none was given."""

    @property
    def is_store(self) -> bool:
        """It is a store, whose sealed days are read in the place of a receiver."""
        return is_store(self.url)


def receiver() -> Place | None:
    """Return the receiver that is named by URL; None where the one that holds DATA is meant.

    Raises `SettingsError` where several are, or a store is.
    """
    named = receivers()
    if len(named) > 1 or any(place.is_store for place in named):
        what = f"{len(named)} receivers are named" if len(named) > 1 else f"{named[0].url} is no receiver"
        raise SettingsError(f"{what}, and this asks one", hint="Name one --receiver.")
    return named[0] if named else None


def receivers() -> list[Place]:
    """Return the receivers that are named by URL, in the order they were, and stores named in the place of one."""
    urls = os.environ.get(RECEIVER, "").split()
    if len(set(urls)) < len(urls):
        raise SettingsError(f"{RECEIVER} names a receiver twice")
    return [Place(url.rstrip("/"), "") if is_store(url) else _place(url, RECEIVER, "--receiver") for url in urls]


def is_store(url: str) -> bool:
    """Tell whether a URL is a store's, not a server's of ours.

    >>> is_store("s3://bucket/spanloop"), is_store("https://receiver:4318")
    (True, False)
    """
    return url.partition("://")[0] in STORES


def control() -> Place | None:
    """Return the gateway's control endpoint that is named by URL; None where the one of DATA is meant."""
    text = os.environ.get(CONTROL, "")
    return _place(text, CONTROL, "--control") if text else None


def store() -> str | None:
    """Return the URL of the store that machines share; None where there is none."""
    return os.environ.get(STORE) or None


def name_places(
    receiver_urls: Sequence[str] | str | None,
    control_url: str | None,
    key_file: Path | None,
    store_url: str | None = None,
) -> None:
    """Remember what a command line named, for this process and those it starts."""
    given = {
        RECEIVER: receiver_urls if isinstance(receiver_urls, str) else " ".join(receiver_urls or ()) or None,
        CONTROL: control_url,
        KEY_FILE: None if key_file is None else key_file.absolute(),
        STORE: store_url,
    }
    os.environ.update({variable: str(value) for variable, value in given.items() if value is not None})
    receivers(), control()  # what cannot be an address is refused now, not after hours


def named() -> dict[str, str]:
    """Return the variables that are set, for workers that do not inherit them."""
    return {variable: os.environ[variable] for variable in VARIABLES if os.environ.get(variable)}


def _place(text: str, variable: str, flag: str) -> Place:
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or parts.path.strip("/") or parts.query or parts.username or not text.isprintable():
        raise SettingsError(
            f"{flag} {text[:200]!r} is no address ({variable})", hint=f"{flag} https://HOST:PORT, and nothing behind it"
        )
    return Place(text.rstrip("/"), _key())


def _key() -> str:
    path = os.environ.get(KEY_FILE)
    if not path:
        return ""
    try:
        text = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SettingsError(
            f"the key cannot be read from {path}: {reason}", hint=f"--key-file, or {KEY_FILE}"
        ) from None
    if not text or not text.isascii() or any(sign.isspace() for sign in text):
        raise SettingsError(f"{path} holds no key", hint="It holds the text that `receiver keys create` printed.")
    return text
