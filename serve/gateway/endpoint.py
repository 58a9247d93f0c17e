"""The endpoint agents talk to: OpenAI's API in front of one engine, with the evidence taken on the way through.

Whatever the client asked for is what it gets; token ids and log-probabilities it did not ask for go to the span only.
A stream is forwarded event by event as it comes, and every record is made after the client has its bytes.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib.metadata import version

import aiohttp
import orjson
from aiohttp import web
from opentelemetry.trace import Tracer

from foundation.narration import get_logger
from serve.admission import Admission, Serving
from serve.api.answers import Json
from serve.api.apis import APIS, Api
from serve.api.bodies import read_object
from serve.engines.engine import NotServing
from serve.evidence.delivery import Delivery
from serve.evidence.spans import Caller, end_span, start_span
from serve.gateway.access import Access
from serve.gateway.assignment import CANARY, Split, find_unit
from serve.gateway.entrance import PROJECT, TRACE, BadRequest, Entrance, Handler, answer_json
from serve.gateway.forwarding import forward, place, relay
from serve.gateway.media import find_refused
from serve.gateway.metrics import Metrics
from serve.gateway.second import Second
from serve.gateway.turn import HOSTED, VERSION_HEADER, Ask, Turn, ask_student, odd
from serve.prompts.prompting import Prompting

log = get_logger("serve")

CALLER_HEADERS = {name: f"x-spanloop-{name}" for name in ("episode", "agent", "task", "replay")}
MAX_CALLER_LENGTH = 256
BASES = ("", "/episode/{episode}", "/agent/{agent}", "/episode/{episode}/agent/{agent}")
"""What may stand before `/v1` in a base URL: for clients that can be told nothing but a URL."""

EMBEDDINGS = "/v1/embeddings"
TOKENS = ("/tokenize", "/detokenize")
"""vLLM's own, passed on where the engine has them."""

VERSION = version("spanloop")
MAX_SHOWN_NAME = 128
MAX_BODY_BYTES = 64 << 20
LIVE = ":live"


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
        aliases: tuple[str, ...] = (),
    ) -> None:
        self.entrance = Entrance(access, allowed_origins)
        self.media_domains = frozenset(media_domains)
        self.base = base
        self.aliases = aliases
        self.strict_tools = strict_tools
        self.evidence = evidence
        self.defaults = defaults
        """Sampling parameters of a request that names none."""

        self.tracer = tracer
        self.admission = Admission()
        self.split: Split | None = None
        """The canary and its share of the calls, while one runs."""

        self.second: Second | None = None
        """The hosted model behind the student, where there is one."""

        self.prompting: Prompting | None = None
        """The versions of agents' prompts, where there are any."""

        self.metrics = Metrics()
        self.num_answered = 0
        self.num_failed = 0
        self._started = int(time.time())

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names agents may ask for, the first to be told to others; all mean whatever is live."""
        return tuple(dict.fromkeys((self.base + LIVE, self.base, *self.aliases)))

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
        if policy is None and self.second is not None:
            return answer_json({"status": "ready", "policy_version": None, "answered_by": HOSTED})
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
            fallbacks=None if self.second is None else self.second.reasons,
        )
        return web.Response(text=text, content_type="text/plain", charset="utf-8")

    # --- completions

    def _handler(self, api: Api) -> Handler:
        async def handle(http: web.Request) -> web.StreamResponse:
            caller = read_caller(http)
            request = await read_request(http, self.model_names, self.media_domains)
            with odd():
                if self.prompting is not None and self.prompting.known and caller.replay is None:
                    request, caller = self._prompted(http, request, caller)
                turn = Turn(http, api, request, caller)
                admission = self._choose(turn)
            try:
                if self.second is not None and caller.replay is None:
                    return await self.second.answer(turn, admission, self._ask_student, self._exchange)
                async with admission.admitted() as serving:
                    return await self._exchange(turn, self._ask_student(turn, serving))
            finally:
                self._record(turn)

        return handle

    def _prompted(self, http: web.Request, request: Json, caller: Caller) -> tuple[Json, Caller]:
        """Return a call under the version of its agent's prompt that it is to be answered by."""
        assert self.prompting is not None, "asked before"
        unit = find_unit(http.headers, request, caller.episode)
        user = unit.decode(errors="replace") if unit.startswith(b"user:") else None
        request, use = self.prompting.apply(request, agent=caller.agent, unit=unit, episode=caller.episode, user=user)
        return request, caller if use is None else replace(caller, prompt=use)

    def _choose(self, turn: Turn) -> Admission:
        """Return which arm a call goes to; the live one, without its merit or blame, where the canary cannot answer.

        What a replay asks is no traffic: the live model answers, and it counts for neither.
        """
        has_share = self.second is not None and (self.second.share > 0 or self.second.salt is not None)
        if (self.split is None and not has_share) or turn.caller.replay is not None:
            return self.admission
        turn.unit = find_unit(turn.http.headers, turn.request, turn.caller.episode)
        if self.split is None:
            return self.admission
        arm = self.split.arm(turn.unit)
        if arm == CANARY and not self.split.can_answer():
            return self.admission
        turn.caller = replace(turn.caller, arm=arm, unit=self.split.hash(turn.unit))
        return self.split.admission if arm == CANARY else self.admission

    def _ask_student(self, turn: Turn, serving: Serving) -> Ask:
        return ask_student(turn, serving, defaults=self.defaults, strict_tools=self.strict_tools)

    async def _exchange(self, turn: Turn, ask: Ask) -> web.StreamResponse:
        """Ask somebody; what comes of it is the turn's until another is asked."""
        http = turn.http
        if turn.span is None:
            span = start_span(self.tracer, http.headers, is_chat=turn.api.is_chat, model=turn.request["model"])
            turn.span, turn.began = span, time.monotonic()
            if (context := span.get_span_context()).is_valid:
                http[TRACE] = f"{context.trace_id:032x}"
        turn.asked, turn.error = ask, "cancelled"
        try:
            response, turn.error = await forward(http, ask)
        except (aiohttp.ClientError, OSError) as failure:
            if http.transport is not None:  # else it is the client that went away
                turn.error = type(failure).__name__
            raise
        except NotServing:
            turn.error = "503"
            raise
        return response

    def _record(self, turn: Turn) -> None:
        """Count a call that ended, and have its span made on the loop's next turn: its last bytes go first."""
        if turn.asked is None or turn.span is None:
            return
        recording = turn.asked.recording
        error = turn.error or recording.error
        if error is None:
            self.num_answered += 1
        else:
            self.num_failed += 1
        self.metrics.count(turn.api.path, recording, error, time.monotonic() - turn.began)
        asyncio.get_running_loop().call_soon(
            end_span, self.tracer, turn.span, turn.call(), time.time_ns(), self.evidence
        )

    def _relayed(self, path: str) -> Handler:
        """Return the handler of calls that sample nothing and are passed on as they are."""

        async def handle(http: web.Request) -> web.StreamResponse:
            request = await read_request(http, self.model_names, self.media_domains)
            async with self.admission.admitted() as serving:
                body = orjson.dumps({**request, "model": serving.model})
                headers = {VERSION_HEADER: serving.policy.version}
                with place(serving.engine, request) as url:
                    return await relay(http, serving.engine, url + path, body, headers)

        return handle


def read_caller(http: web.Request) -> Caller:
    """Read who asks from the base URL, else from the headers."""
    found: dict[str, str | None] = {}
    for name, header in CALLER_HEADERS.items():
        value = http.match_info.get(name) or http.headers.get(header)
        if value is not None and not (0 < len(value) <= MAX_CALLER_LENGTH and value.isprintable()):
            raise BadRequest(f"the {name} must be 1 to {MAX_CALLER_LENGTH} printable characters")
        found[name] = value
    return Caller(project=http.get(PROJECT), **found)  # type: ignore[arg-type]  # names of texts alone


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
