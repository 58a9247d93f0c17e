"""What every request passes before it is looked at: its id, the page it may come from, its key; and errors."""

import uuid
from collections.abc import Awaitable, Callable

import aiohttp
import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware

from foundation.narration import get_logger
from foundation.web.browsers import Browsers
from foundation.web.keys import Forbidden, KeysUnreadable, Unauthenticated
from serve.api.bodies import MalformedRequest
from serve.api.errors import error_body
from serve.engines.engine import NotServing
from serve.gateway.access import Access

log = get_logger("serve")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PROJECT = web.RequestKey("project", str)
"""Project of the key a request came with."""

REQUEST_ID_HEADER = "x-request-id"
TRACE_HEADER = "x-spanloop-trace-id"
"""Trace of the call: what a reward given later may name."""

TRACE = web.RequestKey("trace", str)
BEGUN = web.RequestKey("begun", bool)
"""Some of a stream was sent: from then on nobody else can answer."""
MAX_REQUEST_ID = 128
HEALTH = frozenset({"/healthz", "/readyz", "/health"})
"""Asked by supervisors, who have no key and call this machine by any name."""


class BadRequest(ValueError):
    """A request the gateway itself refuses; the message is for the client."""

    def __init__(self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


class Entrance:
    """Lets requests in, and gives every answer its id."""

    def __init__(self, access: Access | None, allowed_origins: tuple[str, ...] = ()) -> None:
        self.access = access
        self._browsers = Browsers(
            allowed_origins,
            paths=None,
            methods="GET, POST",
            allowed_headers="Authorization, Content-Type, Traceparent, X-Request-Id, X-Spanloop-Agent, "
            "X-Spanloop-Episode, X-Spanloop-Task, X-Stainless-Arch, X-Stainless-Lang, X-Stainless-OS, "
            "X-Stainless-Package-Version, X-Stainless-Retry-Count, X-Stainless-Runtime, X-Stainless-Runtime-Version, "
            "X-Stainless-Timeout",
        )

    @property
    def middlewares(self) -> list[Middleware]:
        """What an application is to put before its handlers, the outermost first."""
        return [errors_as_openai, self._admit]

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if request.path in HEALTH:
            return await handler(request)
        if request.method == "OPTIONS":
            allowed = self._browsers.preflight_headers(headers, request.path)
            return web.Response(status=204 if allowed else 403, headers=allowed)
        is_open = self.access is None or self.access.is_open()
        if problem := self._browsers.refusal(headers, request.path, is_open=is_open):
            raise BadRequest(problem, status=403)
        self._authorise(request)
        return await handler(request)

    def _authorise(self, http: web.Request) -> None:
        """Let a request pass when its key does, and keep the key's project."""
        if self.access is None:
            return
        try:
            project = self.access.check(http.headers)
        except Unauthenticated as error:
            raise BadRequest(str(error), status=401) from None
        except Forbidden as error:
            raise BadRequest(str(error), status=403) from None
        if project is not None:
            http[PROJECT] = project

    async def name_answer(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put onto an answer, before its head leaves, the request's id, the call's trace and what its page needs."""
        given = request.headers.get(REQUEST_ID_HEADER, "")
        is_usable = 0 < len(given) <= MAX_REQUEST_ID and given.isascii() and given.isprintable()
        response.headers[REQUEST_ID_HEADER] = given if is_usable else uuid.uuid4().hex
        if (trace := request.get(TRACE)) is not None:
            response.headers[TRACE_HEADER] = trace
        if "Origin" in request.headers:
            headers = {name.lower(): value for name, value in request.headers.items()}
            response.headers.update(self._browsers.answer_headers(headers, request.path))


@web.middleware
async def errors_as_openai(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error in OpenAI's shape."""
    try:
        return await handler(request)
    except BadRequest as error:
        return answer_json(error_body(str(error), error.status, code=error.code, param=error.param), error.status)
    except MalformedRequest as error:
        return answer_json(error_body(str(error), 400), 400)
    except NotServing as error:
        return answer_json(error_body(error.message, 503), 503, {"Retry-After": "2"})
    except KeysUnreadable as error:
        return answer_json(error_body(error.said, 503), 503, {"Retry-After": "2"})
    except (aiohttp.ClientError, OSError) as error:
        if request.transport is None:
            raise  # the client went away; there is nobody to tell
        log.warning("the engine did not answer", error=type(error).__name__)
        return answer_json(error_body("the engine did not answer", 503), 503, {"Retry-After": "2"})
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return answer_json(error_body(error.reason, error.status), error.status, headers)


def answer_json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON answer."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")
