"""The endpoint agents talk to: OpenAI's API in front of one engine, with the evidence taken on the way through.

Whatever the client asked for is what it gets; token ids and log-probabilities it did not ask for go to the span only.
A stream is forwarded event by event as it comes, and every record is made after the client has its bytes.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from opentelemetry.trace import Tracer

from foundation.keys import Forbidden, Unauthenticated
from foundation.narration import get_logger
from serve.admission import Admission, Serving
from serve.api.answers import Json, Recording, Wants
from serve.api.apis import APIS, Api
from serve.api.events import reduce_event, split_events
from serve.engines.engine import Engine, NotServing
from serve.evidence.delivery import Delivery
from serve.evidence.spans import Call, Caller, end_span, start_span
from serve.gateway.access import Access
from serve.gateway.assignment import CANARY, Split, find_unit
from serve.gateway.media import find_refused
from serve.sampling import with_defaults

log = get_logger("serve")

VERSION_HEADER = "x-spanloop-policy-version"
CALLER_HEADERS = {"episode": "x-spanloop-episode", "agent": "x-spanloop-agent", "task": "x-spanloop-task"}
MAX_CALLER_LENGTH = 256
JSON_HEADERS = {"Content-Type": "application/json"}
BASES = ("", "/episode/{episode}", "/agent/{agent}", "/episode/{episode}/agent/{agent}")
"""What may stand before `/v1` in a base URL: for clients that can be told nothing but a URL."""

EMBEDDINGS = "/v1/embeddings"
MAX_BODY_BYTES = 64 << 20
LIVE = ":live"

PROJECT = web.RequestKey("project", str)
"""Project of the key a request came with."""

MAX_ATTEMPTS = 3
"""Times a call is sent while connections break before anything of an answer came: an engine may close an idle one at
that moment, and where there are several replicas another can answer."""

CONNECTION_LOST = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequest(ValueError):
    """A request the gateway itself refuses; the message is for the client."""

    def __init__(self, message: str, *, status: int = 400, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


class Gateway:
    """One engine, one policy at a time, any number of calls."""

    def __init__(
        self,
        base: str,
        defaults: Mapping[str, float | int],
        tracer: Tracer,
        *,
        evidence: Delivery | None = None,
        strict_tools: bool = False,
        access: Access | None = None,
        media_domains: Collection[str] = (),
    ) -> None:
        self.access = access
        self.media_domains = frozenset(media_domains)
        self.base = base
        self.strict_tools = strict_tools
        self.evidence = evidence
        self.defaults = defaults
        """Sampling parameters of a request that names none."""

        self.tracer = tracer
        self.admission = Admission()
        self.split: Split | None = None
        """The canary and its share of the calls, while one runs."""

        self.num_answered = 0
        self.num_failed = 0
        self._started = int(time.time())

    @property
    def model_names(self) -> tuple[str, str]:
        """The names agents may ask for; both mean whatever is live."""
        return (self.base + LIVE, self.base)

    def make_app(self) -> web.Application:
        """Return the HTTP application."""

        @web.middleware
        async def authorise(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._authorise(request)
            return await handler(request)

        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_errors_as_openai, authorise])
        handlers = {api.path: self._handler(api) for api in APIS}
        for base in BASES:
            app.add_routes([web.post(base + path, handler) for path, handler in handlers.items()])
            app.add_routes([web.post(base + EMBEDDINGS, self._embed), web.get(f"{base}/v1/models", self._list_models)])
        app.add_routes([web.get("/healthz", self._is_alive), web.get("/readyz", self._is_ready)])
        return app

    def _authorise(self, http: web.Request) -> None:
        """Let a request pass when its key does, and keep the key's project; probes of health need none."""
        if self.access is None or http.path in ("/healthz", "/readyz"):
            return
        try:
            project = self.access.check(http.headers)
        except Unauthenticated as error:
            raise BadRequest(str(error), status=401, kind="authentication_error") from None
        except Forbidden as error:
            raise BadRequest(str(error), status=403, kind="permission_error") from None
        if project is not None:
            http[PROJECT] = project

    # --- small questions

    async def _list_models(self, _: web.Request) -> web.Response:
        policy = self.admission.policy
        models = [
            {
                "id": name,
                "object": "model",
                "created": self._started,
                "owned_by": "spanloop",
                "root": None if policy is None else policy.version,
            }
            for name in self.model_names
        ]
        return _json({"object": "list", "data": models})

    async def _is_alive(self, _: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _is_ready(self, _: web.Request) -> web.Response:
        policy = self.admission.policy
        if policy is None:
            return _json({"status": "starting"}, 503)
        return _json({"status": "ready", "policy_version": policy.version})

    # --- completions

    def _handler(self, api: Api) -> Handler:
        async def handle(http: web.Request) -> web.StreamResponse:
            caller = read_caller(http)
            request = await read_request(http, self.model_names, self.media_domains)
            admission, caller = self._choose(http, request, caller)
            async with admission.admitted() as serving:
                return await self._answer(http, api, request, serving, caller)

        return handle

    def _choose(self, http: web.Request, request: Mapping[str, Any], caller: Caller) -> tuple[Admission, Caller]:
        """Return which arm a call goes to; the live one, without its merit or blame, where the canary cannot answer."""
        if self.split is None:
            return self.admission, caller
        unit = find_unit(http.headers, request, caller.episode)
        arm = self.split.arm(unit)
        if arm == CANARY and not self.split.can_answer():
            return self.admission, caller
        caller = replace(caller, arm=arm, unit=self.split.hash(unit))
        return (self.split.admission if arm == CANARY else self.admission), caller

    async def _answer(
        self, http: web.Request, api: Api, request: Json, serving: Serving, caller: Caller
    ) -> web.StreamResponse:
        asked = with_defaults(request if self.strict_tools else api.loosen(request), self.defaults)
        recording = Recording()
        span = start_span(self.tracer, http.headers, is_chat=api.is_chat, model=request["model"])
        error: str | None = "cancelled"  # unless something else happens first
        try:
            response, error = await self._forward(http, api, serving, asked, recording)
        except (aiohttp.ClientError, OSError) as failure:
            if http.transport is not None:  # else it is the client that went away
                error = type(failure).__name__
            raise
        except NotServing:
            error = "503"
            raise
        finally:
            if error is None and recording.error is None:
                self.num_answered += 1
            else:
                self.num_failed += 1
            # On the loop's next turn: by then the last bytes of the answer are on their way.
            provider = serving.engine.provider
            call = Call(api.is_chat, api.describe(asked), serving.policy, provider, recording, error, caller)
            asyncio.get_running_loop().call_soon(end_span, self.tracer, span, call, time.time_ns(), self.evidence)
        return response

    async def _forward(
        self,
        http: web.Request,
        api: Api,
        serving: Serving,
        asked: Json,
        recording: Recording,
    ) -> tuple[web.StreamResponse, str | None]:
        """Pass the request on and the answer back; return the response and what went wrong, if anything did."""
        wants = api.client_wants(asked)
        body = orjson.dumps(api.ask_for_evidence({**asked, "model": serving.model}))
        headers = {VERSION_HEADER: serving.policy.version}
        for remaining in reversed(range(MAX_ATTEMPTS)):
            try:
                with _place(serving.engine, asked) as url:
                    return await self._exchange(http, api, serving.engine, url, body, recording, wants, headers)
            except CONNECTION_LOST:
                if remaining == 0 or http.transport is None:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _exchange(
        self,
        http: web.Request,
        api: Api,
        engine: Engine,
        url: str,
        body: bytes,
        recording: Recording,
        wants: Wants,
        headers: Mapping[str, str],
    ) -> tuple[web.StreamResponse, str | None]:
        async with engine.session.post(url + api.path, data=body, headers=JSON_HEADERS) as upstream:
            if upstream.status != 200:
                content = await upstream.read()
                whole = web.Response(
                    body=content, status=upstream.status, headers=headers, content_type=upstream.content_type
                )
                return whole, str(upstream.status)
            if upstream.content_type != "text/event-stream":
                answer = orjson.loads(await upstream.read())
                api.read(recording, answer)
                return _json(api.strip(answer, wants), headers=headers), None
            return await _forward_stream(http, api, upstream, recording, wants, headers), None

    async def _embed(self, http: web.Request) -> web.StreamResponse:
        """Pass on a call that samples nothing, as it is."""
        request = await read_request(http, self.model_names, self.media_domains)
        async with self.admission.admitted() as serving:
            body = orjson.dumps({**request, "model": serving.model})
            with _place(serving.engine, request) as url:
                return await self._relay(http, serving, url + EMBEDDINGS, body)

    async def _relay(self, http: web.Request, serving: Serving, url: str, body: bytes) -> web.StreamResponse:
        async with serving.engine.session.post(url, data=body, headers=JSON_HEADERS) as upstream:
            kind = upstream.headers.get("Content-Type", "application/json")
            response = web.StreamResponse(
                status=upstream.status, headers={VERSION_HEADER: serving.policy.version, "Content-Type": kind}
            )
            await response.prepare(http)
            async for piece in upstream.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


@contextlib.contextmanager
def _place(engine: Engine, request: Mapping[str, Any]) -> Iterator[str]:
    """Yield the URL a call is to go to; raise `NotServing` where the engine was let go of since the call was let in."""
    if engine.session.closed:
        raise NotServing("the engine ended", hint="Try again in a few seconds.")
    with engine.place(request) as url:
        yield url


def read_caller(http: web.Request) -> Caller:
    """Read who asks from the base URL, else from the headers."""
    found: dict[str, str | None] = {}
    for name, header in CALLER_HEADERS.items():
        value = http.match_info.get(name) or http.headers.get(header)
        if value is not None and not (0 < len(value) <= MAX_CALLER_LENGTH and value.isprintable()):
            raise BadRequest(f"the {name} must be 1 to {MAX_CALLER_LENGTH} printable characters")
        found[name] = value
    return Caller(**found, project=http.get(PROJECT))


async def _forward_stream(
    http: web.Request,
    api: Api,
    upstream: aiohttp.ClientResponse,
    recording: Recording,
    wants: Wants,
    headers: Mapping[str, str],
) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={**headers, "Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
    )
    await response.prepare(http)
    arrivals = split_events(upstream.content.iter_any())
    while True:
        try:
            events = await anext(arrivals, None)
        except aiohttp.ClientError:
            # The status line is long gone: the stream itself has to say that it did not end well.
            recording.error = "engine_failed"
            event = b"data: " + orjson.dumps(_error_body("the engine ended", "server_error")) + b"\n\n"
            await response.write(event)
            break
        if events is None:
            break
        # What came together goes on together: one write, not one for each token.
        if forwarded := b"".join([reduce_event(event, api, recording, wants) for event in events]):
            await response.write(forwarded)
    await response.write_eof()
    return response


async def read_request(http: web.Request, model_names: tuple[str, ...], media_domains: Collection[str]) -> Json:
    """Read and check the body of a request to a model."""
    try:
        request = orjson.loads(await http.read())
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise BadRequest("the body is not a JSON object")
    model = request.get("model")
    if model not in model_names:
        shown = model if isinstance(model, str) and len(model) <= 128 else "of this request"
        raise BadRequest(
            f"the model {shown} is not served here; ask for {model_names[0]}", status=404, kind="model_not_found"
        )
    if (place := find_refused(request, media_domains)) is not None:
        raise BadRequest(f"{place} names a URL to fetch; send media inline, as a data: URL")
    return request


# --- errors as OpenAI's clients expect them


@web.middleware
async def _errors_as_openai(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadRequest as error:
        return _json(_error_body(str(error), error.kind, error.status), error.status)
    except NotServing as error:
        return _json(_error_body(error.message, "server_error", 503), 503, {"Retry-After": "2"})
    except (aiohttp.ClientError, OSError) as error:
        if request.transport is None:
            raise  # the client went away; there is nobody to tell
        log.warning("the engine did not answer", error=type(error).__name__)
        return _json(_error_body("the engine did not answer", "server_error", 503), 503, {"Retry-After": "2"})
    except web.HTTPException as error:
        return _json(_error_body(error.reason, "invalid_request_error", error.status), error.status)


def _error_body(message: str, kind: str, code: int | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _json(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")
