"""One call on its way through the gateway: who asks for what, who is asked, and what is on record of it at its end."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import orjson
from aiohttp import web
from opentelemetry.trace import Span

from serve.admission import Serving
from serve.api.answers import Json, Recording, Wants
from serve.api.apis import Api
from serve.evidence.spans import Answered, Call, Caller, Policy
from serve.fallback.hosted import Hosted, as_asked_of
from serve.gateway.entrance import BEGUN, BadRequest
from serve.sampling import with_defaults

VERSION_HEADER = "x-spanloop-policy-version"
ANSWERED_BY_HEADER = "x-spanloop-answered-by"
PROMPT_HEADER = "x-spanloop-prompt-version"
STUDENT, HOSTED = "student", "hosted"

Judge = Callable[[Mapping[str, Any], Recording], str | None]
"""Says what is wrong with an answer to a request, null where nothing is."""


class Answerer(Protocol):
    """What can be asked: an engine, or a hosted model."""

    @property
    def provider(self) -> str:
        """What `gen_ai.provider.name` says of it."""

    @property
    def session(self) -> aiohttp.ClientSession:
        """The client that reaches it."""

    def place(self, request: Mapping[str, Any]) -> contextlib.AbstractContextManager[str]:
        """Yield the URL a call is to go to, for as long as it runs."""


@dataclass
class Turn:
    """One call."""

    http: web.Request
    api: Api
    request: Json
    """As the client sent it, but for a prompt that was replaced."""

    caller: Caller
    unit: bytes = b""
    """What is given to one arm as a whole, where anything is split."""

    span: Span | None = None
    """Null until somebody could be asked."""

    began: float = 0.0
    asked: "Ask | None" = None
    """What was sent last, and its answer."""

    error: str | None = "cancelled"
    """What went wrong; this, unless something else happens first."""

    @property
    def is_begun(self) -> bool:
        """Tell whether some of an answer was sent."""
        return BEGUN in self.http

    def call(self) -> Call:
        """Return what the span is to say."""
        assert self.asked is not None, "somebody was asked"
        asked = self.asked
        return Call(
            self.api.is_chat, asked.described, asked.policy, asked.to.provider, asked.recording, self.error,
            self.caller, asked.answered,
        )  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """What is sent to somebody, and what of the answer the client gets."""

    to: Answerer
    path: str
    api: Api
    sent: Json
    body: bytes
    described: Mapping[str, Any]
    wants: Wants
    policy: Policy | None
    """What answers; null for a model of somebody else's."""

    headers: dict[str, str]
    """Of the answer."""

    answered: Answered | None = None
    """Who answers, where there is more than one who could."""

    judge: Judge | None = None
    """Looks at the answer before the client gets it; null lets every answer pass as it comes."""

    judges_slowly: bool = False
    """Judging may take long: it is not done where everybody else would wait for it."""

    holds_streams: bool = False
    patience_s: float | None = None
    """How long until the answer begins; null for as long as it takes."""

    recording: Recording = field(default_factory=Recording)


def ask_student(turn: Turn, serving: Serving, *, defaults: Mapping[str, float | int], strict_tools: bool) -> Ask:
    """Return what an engine of ours is sent: every sampling parameter named, ids and log-probabilities asked for."""
    api = turn.api
    with odd():
        sent = with_defaults(turn.request if strict_tools else api.loosen(turn.request), defaults)
        described, wants = api.describe(sent), api.client_wants(sent)
        body = orjson.dumps(api.ask_for_evidence({**sent, "model": serving.model}))
    headers = {VERSION_HEADER: serving.policy.version, **_prompt_header(turn)}
    return Ask(serving.engine, api.path, api, sent, body, described, wants, serving.policy, headers)


def ask_hosted(turn: Turn, hosted: Hosted, because: str) -> Ask:
    """Return what a hosted model is sent: what the client asked for, and no more."""
    api = turn.api
    with odd():
        sent = as_asked_of(hosted, turn.request)
        described, wants = api.describe(sent), api.client_wants(sent)
        body = orjson.dumps(sent)
    answered = Answered(HOSTED, because)
    headers = {ANSWERED_BY_HEADER: answered.by, **_prompt_header(turn)}
    return Ask(hosted, api.path.removeprefix("/v1"), api, sent, body, described, wants, None, headers, answered)


def _prompt_header(turn: Turn) -> dict[str, str]:
    prompt = turn.caller.prompt
    return {} if prompt is None else {PROMPT_HEADER: prompt.version}


@contextlib.contextmanager
def odd() -> Iterator[None]:
    """Blame the request for what goes wrong while nothing but it is read."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, KeyError) as problem:
        raise BadRequest(f"the request is malformed ({type(problem).__name__})") from problem
