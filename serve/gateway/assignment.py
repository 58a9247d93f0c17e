"""Which calls a canary answers: whole users, else whole episodes, else whole traces, by a hash that never changes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from opentelemetry.trace import get_current_span

from serve.admission import Admission
from serve.engines.upstream import affinity_key
from serve.evidence.spans import caller_context

Arm = Literal["live", "canary"]
LIVE: Final = "live"
CANARY: Final = "canary"

USER_HEADER = "x-spanloop-user"


@dataclass
class Split:
    """A canary's share of the calls."""

    admission: Admission
    """Lets calls in to the canary."""

    share: float
    """Part of the units it answers, from 0 to 1."""

    salt: str
    """Makes one canary's assignment independent of another's."""

    def can_answer(self) -> bool:
        """Tell whether the canary has an engine that runs."""
        serving = self.admission.serving
        return serving is not None and serving.engine.is_running()

    def hash(self, unit: bytes) -> str:
        """Return 16 hex digits that stand for a unit and tell nobody who it is."""
        return hashlib.blake2b(unit, digest_size=8, key=self.salt.encode()[:64]).hexdigest()

    def arm(self, unit: bytes) -> Arm:
        """Return the arm of a unit. When the share grows, those who have the canary keep it."""
        return CANARY if int(self.hash(unit), 16) < self.share * 2**64 else LIVE


def find_unit(headers: Mapping[str, str], request: Mapping[str, Any], episode: str | None) -> bytes:
    """Return what is given to one arm as a whole: the user, else the episode, else the caller's trace.

    The user is named by the header `x-spanloop-user` or by OpenAI's `safety_identifier` or `user`. Calls without any of
    these belong together when they begin with the same conversation.

    >>> find_unit({}, {"user": "u1"}, "e1"), find_unit({}, {}, "e1")
    (b'user:u1', b'episode:e1')
    """
    for user in (headers.get(USER_HEADER), request.get("safety_identifier"), request.get("user")):
        if isinstance(user, str) and user:
            return b"user:" + user.encode()
    if episode is not None:
        return b"episode:" + episode.encode()
    if trace := trace_of(headers):
        return b"trace:" + trace.encode()
    return b"conversation:" + affinity_key(request)


def trace_of(headers: Mapping[str, str]) -> str | None:
    """Return the id of the caller's trace, where it sent one that is well-formed."""
    context = get_current_span(caller_context(headers)).get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None
