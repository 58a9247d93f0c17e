"""A store in a cloud's bucket, through obstore: conditions are the server's own, If-None-Match and If-Match.

A write whose answer was lost is sent again, and may then meet itself: a pointer that turns out to hold what was to be
written counts as written.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from foundation.errors import Busy, SettingsError, SpanloopError
from foundation.store.store import Found, Superseded, checked

try:
    import obstore
    from obstore import exceptions
    from obstore.store import from_url
except ImportError as error:  # pragma: no cover - installed wherever the tests run
    raise SettingsError(
        "a store in a cloud needs obstore, which is not installed", hint="pip install 'spanloop[store]'"
    ) from error

Answer = TypeVar("Answer")

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_from_url: Any = from_url
"""Its settings differ by kind of store, and its types say so call by call."""

RETRY_S = 60
"""How long a request is tried again while the server fails or is away."""

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
BACKOFF = {
    "init_backoff": timedelta(seconds=FIRST_WAIT_S), "max_backoff": timedelta(seconds=LONGEST_WAIT_S), "base": 2
}  # fmt: skip

PART_BYTES = 16 << 20


class CloudStore:
    """Objects of a bucket below a prefix; a tag is the server's ETag."""

    def __init__(self, url: str, *, retry_s: float = RETRY_S) -> None:
        self.url = url.rstrip("/")
        self._bare_tags, self._retry_s = False, retry_s
        endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")
        config: dict[str, Any] = {"endpoint": endpoint} if endpoint and url.startswith("s3:") else {}
        try:
            self._store = _from_url(
                self.url,
                config=config or None,
                client_options={"allow_http": endpoint.startswith("http://"), "timeout": timedelta(seconds=60)},
                retry_config={"max_retries": 1000, "backoff": BACKOFF, "retry_timeout": timedelta(seconds=retry_s)},
            )
        except (exceptions.BaseError, ValueError) as error:
            raise SettingsError(f"--store {self.url}: {_first_line(error)}") from error

    def get(self, key: str) -> Found | None:
        """Return an object; None where there is none."""

        def ask() -> Found | None:
            with contextlib.suppress(FileNotFoundError):
                answer = obstore.get(self._store, checked(key))
                return Found(bytes(answer.bytes()), str(answer.meta["e_tag"]))
            return None

        return self._answer(key, ask)

    def put(self, key: str, content: bytes) -> None:
        """Write an object whose key says its content."""
        self._answer(key, lambda: obstore.put(self._store, checked(key), content))

    def create(self, key: str, content: bytes) -> str:
        """Write a pointer that is not there yet; return its tag."""
        return self._written(key, content, "create") or self._ours(key, content, self.get(key))

    def replace(self, key: str, content: bytes, tag: str) -> str:
        """Write a pointer that has this tag; return its new one."""
        for bare in sorted({self._bare_tags, True}):
            if new := self._written(key, content, {"e_tag": tag.strip('"') if bare else tag}):
                self._bare_tags = bare
                return new
            there = self.get(key)
            if there is None or there.tag != tag:
                break
            # Refused, and it is what it was: Ceph 16 compares If-Match with a tag that has no quotes.
        return self._ours(key, content, there)

    def _written(self, key: str, content: bytes, mode: Any) -> str | None:  # noqa: ANN401 - obstore's own
        """Write a pointer; return its new tag, or None where the server says that the condition does not hold."""

        def ask() -> str | None:
            try:
                return str(obstore.put(self._store, checked(key), content, mode=mode, use_multipart=False)["e_tag"])
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError, FileNotFoundError):
                return None

        return self._answer(key, ask)

    def _ours(self, key: str, content: bytes, there: Found | None) -> str:
        if there is not None and there.content == content:
            return there.tag
        raise Superseded(f"{self.url}/{key} has been written by somebody else meanwhile")

    def remove(self, key: str) -> None:
        """Remove an object, where it is there."""

        def ask() -> None:
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(self._store, checked(key))

        self._answer(key, ask)

    def names(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield key and size of every object below a prefix, in order."""

        def ask() -> list[tuple[str, int]]:
            chunks = obstore.list(self._store, prefix or None)
            return [(str(one["path"]), int(one["size"])) for chunk in chunks for one in chunk]

        yield from sorted(self._answer(prefix, ask))

    def upload(self, key: str, path: Path) -> None:
        """Write a file as an object, in parts where it is large."""
        self._answer(key, lambda: obstore.put(self._store, checked(key), path, chunk_size=PART_BYTES))

    def download(self, key: str, path: Path) -> None:
        """Write an object into a new file."""

        def ask() -> None:
            with path.open("wb") as copy:
                for chunk in obstore.get(self._store, checked(key)).stream():
                    copy.write(chunk)

        self._answer(key, ask)

    def _answer(self, key: str, ask: Callable[[], Answer]) -> Answer:
        """Ask, and ask again while nothing comes back.

        The library does so too, but not where a connection broke under a write with a condition, which it cannot know
        to be safe: ours is, since a pointer that holds what was to be written counts as written.
        """
        deadline, wait_s = time.monotonic() + self._retry_s, FIRST_WAIT_S
        while True:
            try:
                with self._asking(key):
                    return ask()
            except Busy:
                if not time.monotonic() + wait_s <= deadline:
                    raise
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    @contextlib.contextmanager
    def _asking(self, key: str) -> Iterator[None]:
        """Say in the words of a user what the store refuses, or that it does not answer."""
        try:
            yield
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise SettingsError(
                f"{self.url} refuses these credentials, at {key}",
                hint="For s3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL.",
            ) from error
        except (exceptions.NotSupportedError, exceptions.InvalidPathError) as error:
            raise SpanloopError(f"{self.url}: {_first_line(error)}") from error
        except exceptions.BaseError as error:
            raise Busy(f"{self.url} does not answer: {_first_line(error)}", hint="Try again.") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
