"""The endpoint agents talk to: OpenAI's API in front of one engine, with the evidence taken on the way through.

Whatever the client asked for is what it gets; token ids and log-probabilities it did not ask for go to the span only.
A stream is forwarded event by event as it comes, and every record is made after the client has its bytes.
"""

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from opentelemetry.trace import Tracer

from foundation.narration import get_logger
from serve.admission import Admission, Serving
from serve.api.answers import Json, Recording, Wants
from serve.api.apis import APIS, Api
from serve.api.bodies import read_object
from serve.api.errors import error_body, rewritten
from serve.api.events import reduce_event, split_events
from serve.engines.engine import Engine, NotServing
from serve.evidence.delivery import Delivery
from serve.evidence.spans import Call, Caller, end_span, start_span
from serve.gateway.access import Access
from serve.gateway.assignment import CANARY, Split, find_unit
from serve.gateway.entrance import PROJECT, TRACE, BadRequest, Entrance, Handler, answer_json
from serve.gateway.media import find_refused
from serve.gateway.metrics import Metrics
from serve.sampling import with_defaults

log = get_logger("serve")

VERSION_HEADER = "x-spanloop-policy-version"
CALLER_HEADERS = {name: f"x-spanloop-{name}" for name in ("episode", "agent", "task", "replay")}
MAX_CALLER_LENGTH = 256
JSON_HEADERS = {"Content-Type": "application/json"}
BASES = ("", "/episode/{episode}", "/agent/{agent}", "/episode/{episode}/agent/{agent}")
"""What may stand before `/v1` in a base URL: for clients that can be told nothing but a URL."""

EMBEDDINGS = "/v1/embeddings"
TOKENS = ("/tokenize", "/detokenize")
"""vLLM's own, passed on where the engine has them."""

VERSION = version("spanloop")
MAX_SHOWN_NAME = 128
MAX_BODY_BYTES = 64 << 20
LIVE = ":live"

MAX_ATTEMPTS = 3
"""Times a call is sent while connections break before anything of an answer came: an engine may close an idle one at
that moment, and where there are several replicas another can answer."""

CONNECTION_LOST = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)


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
        allowed_origins: tuple[str, ...] = (),
    ) -> None:
        self.entrance = Entrance(access, allowed_origins)
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

        self.metrics = Metrics()
        self.num_answered = 0
        self.num_failed = 0
        self._started = int(time.time())

    @property
    def model_names(self) -> tuple[str, str]:
        """The names agents may ask for; both mean whatever is live."""
        return (self.base + LIVE, self.base)

    def make_app(self) -> web.Application:
        """Return the HTTP application."""
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=self.entrance.middlewares)
        app.on_response_prepare.append(self.entrance.name_answer)
        for base in BASES:
            for api in APIS:
                app.router.add_post(base + api.path, self._handler(api))
            app.router.add_post(base + EMBEDDINGS, self._relayed(EMBEDDINGS))
            app.router.add_get(f"{base}/v1/models", self._list_models)
            app.router.add_get(f"{base}/v1/models/{{name:.+}}", self._show_model)
        for path in TOKENS:
            app.router.add_post(path, self._relayed(path))
        app.router.add_get("/healthz", self._is_alive)
        app.router.add_get("/readyz", self._is_ready)
        app.router.add_get("/health", self._is_ready)
        app.router.add_get("/version", self._version)
        app.router.add_get("/metrics", self._metrics)
        return app

    # --- small questions

    def _models(self) -> list[Json]:
        policy = self.admission.policy
        root = None if policy is None else policy.version
        about = {"object": "model", "created": self._started, "owned_by": "spanloop", "root": root}
        return [{"id": name, **about} for name in self.model_names]

    async def _list_models(self, _: web.Request) -> web.Response:
        return answer_json({"object": "list", "data": self._models()})

    async def _show_model(self, http: web.Request) -> web.Response:
        name = http.match_info["name"]
        for model in self._models():
            if model["id"] == name:
                return answer_json(model)
        raise unknown_model(name, self.model_names)

    async def _is_alive(self, _: web.Request) -> web.Response:
        return answer_json({"status": "ok"})

    async def _is_ready(self, _: web.Request) -> web.Response:
        policy = self.admission.policy
        if policy is None:
            return answer_json({"status": "starting"}, 503)
        return answer_json({"status": "ready", "policy_version": policy.version})

    async def _version(self, _: web.Request) -> web.Response:
        return answer_json({"version": VERSION})

    async def _metrics(self, _: web.Request) -> web.Response:
        policies = {} if self.admission.policy is None else {"live": self.admission.policy.version}
        if self.split is not None and self.split.admission.policy is not None:
            policies["canary"] = self.split.admission.policy.version
        text = self.metrics.render(
            in_flight=self.admission.num_in_flight,
            policies=policies,
            evidence={} if self.evidence is None else self.evidence.counts(),
            is_ready=self.admission.policy is not None,
        )
        return web.Response(text=text, content_type="text/plain", charset="utf-8")

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
        """Return which arm a call goes to; the live one, without its merit or blame, where the canary cannot answer.

        What a replay asks is no traffic: the live model answers, and it counts for neither.
        """
        if self.split is None or caller.replay is not None:
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
        try:
            asked = with_defaults(request if self.strict_tools else api.loosen(request), self.defaults)
            described, wants = api.describe(asked), api.client_wants(asked)
            body = orjson.dumps(api.ask_for_evidence({**asked, "model": serving.model}))
        except (TypeError, ValueError, AttributeError, KeyError) as problem:
            # Nothing but the request was read, so it is the request that is odd.
            raise BadRequest(f"the request is malformed ({type(problem).__name__})") from problem
        recording = Recording()
        began = time.monotonic()
        span = start_span(self.tracer, http.headers, is_chat=api.is_chat, model=request["model"])
        if (context := span.get_span_context()).is_valid:
            http[TRACE] = f"{context.trace_id:032x}"
        error: str | None = "cancelled"  # unless something else happens first
        try:
            response, error = await self._forward(http, api, serving, asked, body, wants, recording)
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
            self.metrics.count(api.path, recording, error or recording.error, time.monotonic() - began)
            # On the loop's next turn: by then the last bytes of the answer are on their way.
            provider = serving.engine.provider
            call = Call(api.is_chat, described, serving.policy, provider, recording, error, caller)
            asyncio.get_running_loop().call_soon(end_span, self.tracer, span, call, time.time_ns(), self.evidence)
        return response

    async def _forward(
        self,
        http: web.Request,
        api: Api,
        serving: Serving,
        asked: Json,
        body: bytes,
        wants: Wants,
        recording: Recording,
    ) -> tuple[web.StreamResponse, str | None]:
        """Pass the request on and the answer back; return the response and what went wrong, if anything did."""
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
                return await _engine_error(upstream, headers), str(upstream.status)
            if upstream.content_type != "text/event-stream":
                answer = orjson.loads(await upstream.read())
                api.read(recording, answer)
                return answer_json(api.strip(answer, wants), headers=dict(headers)), None
            return await _forward_stream(http, api, upstream, recording, wants, headers), None

    def _relayed(self, path: str) -> Handler:
        """Return the handler of calls that sample nothing and are passed on as they are."""

        async def handle(http: web.Request) -> web.StreamResponse:
            request = await read_request(http, self.model_names, self.media_domains)
            async with self.admission.admitted() as serving:
                body = orjson.dumps({**request, "model": serving.model})
                with _place(serving.engine, request) as url:
                    return await self._relay(http, serving, url + path, body)

        return handle

    async def _relay(self, http: web.Request, serving: Serving, url: str, body: bytes) -> web.StreamResponse:
        async with serving.engine.session.post(url, data=body, headers=JSON_HEADERS) as upstream:
            if upstream.status != 200:
                return await _engine_error(upstream, {VERSION_HEADER: serving.policy.version})
            kind = upstream.headers.get("Content-Type", "application/json")
            response = web.StreamResponse(
                status=upstream.status, headers={VERSION_HEADER: serving.policy.version, "Content-Type": kind}
            )
            await response.prepare(http)
            async for piece in upstream.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


async def _engine_error(upstream: aiohttp.ClientResponse, headers: Mapping[str, str]) -> web.Response:
    return answer_json(rewritten(await upstream.read(), upstream.status), upstream.status, dict(headers))


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
            event = b"data: " + orjson.dumps(error_body("the engine ended", 500)) + b"\n\n"
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
    request = read_object(await http.read())
    model = request.get("model")
    if model not in model_names:
        raise unknown_model(model, model_names)
    if request.get("top_logprobs") and "messages" in request and not request.get("logprobs"):
        raise BadRequest("top_logprobs needs logprobs to be true", param="top_logprobs")
    if (place := find_refused(request, media_domains)) is not None:
        raise BadRequest(f"{place} names a URL to fetch; send media inline, as a data: URL", param=place)
    return request


def unknown_model(name: object, model_names: tuple[str, ...]) -> BadRequest:
    """Return the refusal of a model that nobody here serves."""
    shown = name if isinstance(name, str) and len(name) <= MAX_SHOWN_NAME else "of this request"
    message = f"the model {shown} is not served here; ask for {model_names[0]}"
    return BadRequest(message, status=404, code="model_not_found", param="model")
