"""When a call goes on to the hosted model: the student is away, its answer fails a check, or the caller stays there.

Nothing changes once an answer began to be sent. What neither can answer ends as the student's failure would have
ended it; where only the hosted model fails, the student's answer is sent all the same.
"""

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import aiohttp
from aiohttp import web

from foundation.narration import get_logger
from serve.admission import Admission, Serving
from serve.engines.engine import NotServing
from serve.evidence.spans import Answered
from serve.fallback.checks import Checks
from serve.fallback.hosted import Hosted, stays
from serve.gateway.forwarding import Unfit
from serve.gateway.turn import ANSWERED_BY_HEADER, STUDENT, Ask, Turn, ask_hosted

log = get_logger("serve")

AskStudent = Callable[[Turn, Serving], Ask]
Exchange = Callable[[Turn, Ask], Awaitable[web.StreamResponse]]

CALLERS_FAULT = (400, 413, 422)
"""What a hosted model refuses because of the request itself: the client is told, as it would be told there."""


@dataclass
class Second:
    """The hosted model behind the student."""

    hosted: Hosted
    checks: Checks = field(default_factory=Checks)
    share: float = 0.0
    """Part of the users, episodes, traces or conversations that stay with it."""

    salt: str | None = None
    """Stands for a handover that is going on, in which the answers of both are compared."""

    patience_s: float | None = None
    holds_streams: bool = True

    def __post_init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        """Answers of the hosted model, by why it was asked."""

    async def answer(
        self, turn: Turn, admission: Admission, ask_student: AskStudent, exchange: Exchange
    ) -> web.StreamResponse:
        """Have one of the two answer."""
        if self.salt is not None:
            hashed = hashlib.blake2b(turn.unit, digest_size=8, key=self.salt.encode()[:64]).hexdigest()
            arm = "live" if stays(turn.unit, self.share) else "canary"
            turn.caller = replace(turn.caller, handover=(arm, hashed))
        if self.share > 0 and stays(turn.unit, self.share):
            try:
                return await self._ask_hosted(turn, "share", exchange)
            except (Unfit, aiohttp.ClientError, OSError) as failure:
                if turn.http.transport is None or turn.is_begun:
                    raise
                _say(failure)
        try:
            async with admission.admitted() as serving:
                ask = ask_student(turn, serving)
                ask.headers[ANSWERED_BY_HEADER] = STUDENT
                return await exchange(
                    turn,
                    replace(
                        ask,
                        answered=Answered(STUDENT, None),
                        judge=self.checks.find,
                        judges_slowly="schema" in self.checks.wanted,
                        holds_streams=self.holds_streams and bool(self.checks.wanted),
                        patience_s=self.patience_s,
                    ),
                )
        except Unfit as unfit:
            return await self._instead(turn, unfit.because, unfit, exchange)
        except (NotServing, aiohttp.ClientError, OSError) as failure:
            if turn.http.transport is None or turn.is_begun:
                raise
            return await self._instead(turn, "away", failure, exchange)

    async def _instead(
        self, turn: Turn, because: str, failure: Unfit | Exception, exchange: Exchange
    ) -> web.StreamResponse:
        """Ask the hosted model in the student's stead; where it fails too, do with the student's answer."""
        before, error, arm = turn.asked, turn.error, turn.caller
        try:
            return await self._ask_hosted(turn, because, exchange)
        except (Unfit, aiohttp.ClientError, OSError) as second:
            if turn.http.transport is None or turn.is_begun:
                raise
            _say(second)
            if isinstance(failure, Unfit):
                turn.asked, turn.caller = before, arm
                turn.error = None if failure.status == 200 else str(failure.status)
                return await failure.deliver()
            if isinstance(second, Unfit) and second.status in CALLERS_FAULT:
                turn.error = str(second.status)
                return await second.deliver()
            turn.asked, turn.error, turn.caller = before, error, arm
            raise failure from None

    async def _ask_hosted(self, turn: Turn, because: str, exchange: Exchange) -> web.StreamResponse:
        # Whatever arm of a canary it would have been: this answer is not its merit. The arm of a handover stays: it
        # compares being a user of the student with the hosted model behind it.
        turn.caller = replace(turn.caller, arm=None, unit=None)
        ask = replace(ask_hosted(turn, self.hosted, because), judge=_anything)
        response = await exchange(turn, ask)
        self.reasons[because] += 1
        return response

    async def close(self) -> None:
        """Let go of the connections."""
        await self.hosted.session.close()


def _anything(_request: object, _recording: object) -> None:
    """Find nothing wrong with an answer; that there was none is told apart all the same."""


def _say(failure: Exception) -> None:
    status = failure.status if isinstance(failure, Unfit) else None
    log.warning("the hosted model did not answer", status=status, error=type(failure).__name__)
