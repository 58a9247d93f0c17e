"""The stores that tests run on: a directory always, and a server that speaks S3 where one is named.

`make test-store` starts Ceph's RADOS gateway and names a bucket of it in `SPANLOOP_TEST_STORE`.
"""

import itertools
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from foundation.store.opening import open_store
from foundation.store.store import Store

NAMED = os.environ.get("SPANLOOP_TEST_STORE", "")
KINDS = ["file", *(["s3"] if NAMED else [])]


def new_url(kind: str, tmp_path: Path) -> str:
    """Return the URL of a new, empty store of a kind."""
    return f"file://{tmp_path}/store" if kind == "file" else f"{NAMED.rstrip('/')}/{secrets.token_hex(6)}"


def new_store(kind: str, tmp_path: Path) -> Store:
    """Return a new, empty store of a kind."""
    return open_store(new_url(kind, tmp_path))


def expire(store: Store, lease: str) -> None:
    """Have the time of a lease's holder be over, as if it had given no sign of life for long."""
    key = f"leases/{lease}.json"
    if (found := store.get(key)) is not None:
        store.replace(key, json.dumps({**json.loads(found.content), "until": 0.0}).encode(), found.tag)


class Killed(BaseException):
    """The process that wrote is gone, between two writes."""


class Dying:
    """A store whose writer is killed before its n-th write, or right after it, before it learns that it was done."""

    WRITES = ("put", "create", "replace", "remove", "upload")

    def __init__(self, store: Store, dies_at: int, *, after: bool) -> None:
        self._store, self._left, self._after, self._is_dead = store, dies_at, after, False
        self.url = store.url

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._store, name)
        if name not in self.WRITES:
            return inner

        def write(*arguments: Any) -> Any:
            if self._is_dead or (self._left == 0 and not self._after):
                self._is_dead = True
                raise Killed
            done = inner(*arguments)
            self._is_dead = self._left == 0
            self._left -= 1
            if self._is_dead:
                raise Killed
            return done

        return write


def killed_everywhere(store: Store, work: Callable[[Store], object]) -> Iterator[int]:
    """Run work with its writer killed before and after each of its writes in turn; yield after each kill.

    It ends when the work has come to its end; so it must go on where it was left, or begin anew.
    """
    for number in itertools.count():
        for after in (False, True):
            dying: Any = Dying(store, number, after=after)
            try:
                work(dying)
            except Killed:
                yield number
            else:
                return
