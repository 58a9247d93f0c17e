"""One holder at a time of a task that machines share: a lease in the store, with an expiry and a fencing token.

    leases/<name>.json    {"token": 7, "nonce": "…", "host": "…", "purpose": "…", "until": 1796000000.0}

The expiry only says when others may try; clocks that differ cost patience, or an attempt. What makes it safe is the
token, which grows with every holder: a holder writes it into the pointer it is about to change before it begins
(`foundation.store.pointer`), so that whoever held the lease before can no longer change that pointer.
"""

import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from foundation.errors import Busy, SpanloopError
from foundation.narration import get_logger
from foundation.store.store import Store, Superseded

log = get_logger("store")

TTL_S = 60.0
"""How long after a holder's last sign of life others may take its place."""


class Lease:
    """A lease that is held: renewed in the background until it is lost or let go."""

    def __init__(self, store: Store, name: str, purpose: str, *, ttl_s: float, now: Callable[[], float]) -> None:
        self._store, self._ttl_s, self._now = store, ttl_s, now
        self._key = f"leases/{name}.json"
        self._nonce = secrets.token_hex(8)
        self._purpose = purpose
        self._lost = threading.Event()
        there = store.get(self._key)
        before = _read(there.content) if there is not None else {"token": 0, "until": 0.0}
        if before["until"] > now():
            raise Busy(
                f"{store.url} is held by {before['purpose']} on {before['host']}",
                hint=f"Try again; without a sign of life from it in {before['until'] - now():.0f} s.",
            )
        self.token = int(before["token"]) + 1
        """Larger than that of every holder before."""
        try:
            self._tag = (
                store.create(self._key, self._content(ttl_s))
                if there is None
                else store.replace(self._key, self._content(ttl_s), there.tag)
            )
        except Superseded as error:
            raise Busy(f"somebody else has just begun to work on {store.url}", hint="Try again.") from error

    def _content(self, ttl_s: float) -> bytes:
        return json.dumps(
            {
                "token": self.token,
                "nonce": self._nonce,
                "host": socket.gethostname(),
                "purpose": self._purpose,
                "until": self._now() + ttl_s if ttl_s else 0.0,
            }
        ).encode()

    def renew(self) -> None:
        """Say that the holder is alive. Raises `Superseded` when somebody else holds it now."""
        try:
            self._tag = self._store.replace(self._key, self._content(self._ttl_s), self._tag)
        except Superseded:
            self._lost.set()
            raise

    def check(self) -> None:
        """Raise `SpanloopError` when the lease is known to be lost: nothing of this holder counts any more."""
        if self._lost.is_set():
            raise SpanloopError(
                f"another machine has taken over the work on {self._store.url}",
                hint="Nothing of this run was published. The other one does it.",
            )

    def let_go(self) -> None:
        """Let others begin at once."""
        with contextlib.suppress(SpanloopError):
            self._store.replace(self._key, self._content(0.0), self._tag)

    def keep(self, ended: threading.Event) -> None:
        """Renew until it ends, or is lost."""
        while not ended.wait(self._ttl_s / 3):
            try:
                self.renew()
            except Superseded:
                return
            except SpanloopError as error:  # the store is away for a while: the next third may do
                log.warning("the lease could not be renewed", store=self._store.url, reason=error.message)


@contextlib.contextmanager
def held(
    store: Store, name: str, *, purpose: str, ttl_s: float = TTL_S, now: Callable[[], float] = time.time
) -> Iterator[Lease]:
    """Hold a lease while the block runs; raise `Busy` when another holder is alive."""
    lease = Lease(store, name, purpose, ttl_s=ttl_s, now=now)
    ended = threading.Event()
    keeper = threading.Thread(target=lease.keep, args=(ended,), daemon=True, name=f"lease {name}")
    keeper.start()
    try:
        yield lease
    finally:
        ended.set()
        keeper.join()
        lease.let_go()


def _read(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
        return {
            "host": "?",
            "purpose": "somebody",
            **found,
            "token": int(found["token"]),
            "until": float(found["until"]),
        }
    except (ValueError, KeyError, TypeError) as error:
        raise SpanloopError("a lease in the store is damaged", hint="Remove it: leases/*.json") from error
