"""The page's server: its addresses, who is let through to them, and what becomes of errors."""

import asyncio
import contextlib
import signal
import traceback
from collections.abc import Awaitable, Callable

from aiohttp import web

from foundation.directories import check_directory
from foundation.errors import Busy, SpanloopError
from foundation.narration import get_logger
from foundation.web import places
from foundation.web.keys import Forbidden, KeysUnreadable, Scope, Unauthenticated, read_keys
from foundation.web.listening import bracket, check_reachable, split_address, tls_context
from spanloop.page import render
from spanloop.page.entrance import HEADERS, Entrance, NotYours, Visitor, new_cookie
from spanloop.page.questions import Questions
from spanloop.page.routes import ROUTES, WHOLE_DATA
from spanloop.page.settings import PageConfig
from spanloop.page.visit import NotThere, Visit, clean, see_other

log = get_logger("page")

Handler = Callable[[Visit], Awaitable[web.StreamResponse]]
OPEN = frozenset({"/login", "/healthz"})
"""What is answered before a login, beside the static files."""

MAX_FORM_BYTES = 1 << 20


class Server:
    """The handlers of the page, and what they share."""

    def __init__(self, config: PageConfig) -> None:
        self._config = config
        self._entrance = Entrance(config.data, session_s=config.session_hours * 3600)
        self._templates = render.environment()
        self._questions: Questions | None = None
        _, port = split_address(config.listen, "--listen", port=8317)
        self._cookie = f"spanloop_{port}"  # ports of one host share their cookies

    def application(self) -> web.Application:
        """Return what answers the requests."""
        app = web.Application(middlewares=[self._answer_all], client_max_size=MAX_FORM_BYTES)
        for method, path, handler in ROUTES:
            app.router.add_route(method, path, self._for_visitors(handler), name=None)
        app.router.add_get("/login", self._login_form)
        app.router.add_post("/login", self._log_in)
        app.router.add_post("/logout", self._log_out)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_static("/static", render.STATIC, follow_symlinks=False)
        app.on_startup.append(self._begin)
        app.on_cleanup.append(self._end)
        return app

    async def _begin(self, _: web.Application) -> None:
        self._questions = Questions(self._config.data)

    async def _end(self, _: web.Application) -> None:
        assert self._questions is not None
        await self._questions.close()

    # --- every request

    @web.middleware
    async def _answer_all(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse what no page may send, and give every answer the headers that bind the browser."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        if problem := self._entrance.refusal(headers, request.method):
            response: web.StreamResponse = web.Response(text=problem + "\n", status=403)
        else:
            try:
                response = await handler(request)
            except web.HTTPException as refused:
                response = self._problem(request, refused.status, refused.reason, None)
            except ConnectionError:  # the visitor has gone
                raise
            except Exception as error:  # noqa: BLE001 - a bug of ours: the page goes on, and the log says where it is
                frame = traceback.extract_tb(error.__traceback__)[-1]
                log.error(  # noqa: TRY400 - a traceback holds what people said
                    "a page failed", error=type(error).__name__, file=frame.filename, line=frame.lineno
                )
                response = self._problem(request, 500, "The page has a bug here; its log says where.", None)
        if not response.prepared:
            response.headers.update({name: value for name, value in HEADERS.items() if name not in response.headers})
            if request.path.startswith("/static/"):  # its address changes with its content
                response.headers["Cache-Control"] = "private, max-age=604800, immutable"
        return response

    def _for_visitors(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            headers = {name.lower(): value for name, value in request.headers.items()}
            cookie = request.cookies.get(self._cookie, "")
            is_new = not cookie and not self._entrance.needs_key
            cookie = new_cookie() if is_new else cookie
            try:
                visitor = self._entrance.identify(headers, cookie)
                if request.method == "POST":
                    form = await request.post()
                    if not self._entrance.is_own_form(cookie, str(form.get("form_token", ""))):
                        return self._problem(
                            request, 403, "This form is not of this session. Go back and try again.", None
                        )
                if request.path.startswith(WHOLE_DATA):
                    visitor.require(Scope.ADMIN)
                response = await handler(self._visit(request, visitor))
            except Unauthenticated:
                there = clean(request.path_qs)[:2000] if request.method == "GET" else "/"
                return see_other(render.address("/login", to=there))
            except (NotYours, Forbidden) as error:
                return self._problem(request, 403, str(error), None)
            except KeysUnreadable as error:
                return self._problem(request, 503, error.said, None)
            except NotThere as error:
                return self._problem(request, 404, str(error) or "There is no such page.", None)
            except SpanloopError as error:
                return self._problem(request, 503 if isinstance(error, Busy) else 400, error.message, error.hint)
            if is_new and not response.prepared:
                self._set_cookie(response, cookie)
            return response

        return handle

    def _visit(self, request: web.Request, visitor: Visitor) -> Visit:
        assert self._questions is not None
        return Visit(
            request, visitor, self._config.data, self._questions, self._templates, needs_key=self._entrance.needs_key
        )

    def _problem(self, request: web.Request, status: int, message: str, hint: str | None) -> web.Response:
        visit = self._visit(request, Visitor("", "", frozenset()))
        return visit.render("problem.html", status=status, title=f"{status}", message=message, hint=hint)

    def _set_cookie(self, response: web.StreamResponse, cookie: str) -> None:
        response.set_cookie(
            self._cookie,
            cookie,
            httponly=True,
            samesite="Strict",
            secure=self._config.tls_cert is not None,
            path="/",
        )

    # --- login

    async def _login_form(self, request: web.Request) -> web.Response:
        return self._ask_for_key(request, problem=None)

    def _ask_for_key(self, request: web.Request, *, problem: str | None, status: int = 200) -> web.Response:
        visit = self._visit(request, Visitor("", "", frozenset()))
        return visit.render(
            "login.html", title="Log in", problem=problem, to=visit.argument("to", most=2000), status=status
        )

    async def _log_in(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        try:
            cookie = self._entrance.log_in(str(form.get("key", "")).strip())
        except (Unauthenticated, Forbidden) as error:
            return self._ask_for_key(request, problem=f"{str(error)[:1].upper()}{str(error)[1:]}.", status=403)
        except KeysUnreadable as error:
            return self._problem(request, 503, error.said, None)
        to = clean(str(form.get("to", "")))
        response = see_other(to if is_own_address(to) else "/")
        self._set_cookie(response, cookie)
        return response

    async def _log_out(self, request: web.Request) -> web.StreamResponse:
        cookie = request.cookies.get(self._cookie, "")
        form = await request.post()
        if not self._entrance.is_own_form(cookie, str(form.get("form_token", ""))):
            return self._problem(request, 403, "This form is not of this session.", None)
        self._entrance.log_out(cookie)
        response = see_other("/login")
        response.del_cookie(self._cookie, path="/")
        return response

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")


def is_own_address(text: str) -> bool:
    r"""Tell whether an address leads to the page itself: `//host` and `/\host` lead elsewhere.

    >>> [is_own_address(text) for text in ("/traces?a=b", "//evil.example", "/\\evil.example", "https://x", "")]
    [True, False, False, False, False]
    """
    return text[:1] == "/" and text[1:2] not in {"/", "\\"} and text.isprintable()


def check_address(config: PageConfig) -> tuple[str, int]:
    """Return host and port; refuse what others reach unless they have to show a key and nobody can listen in."""
    host, port = split_address(config.listen, "--listen", port=8317)
    check_reachable(
        config.listen,
        "--listen",
        host,
        tells_callers_apart=bool(read_keys(config.data)),
        danger="read prompts",
        hint=f"Make a key first (spanloop receiver keys create --data {config.data} --name you --scope query), "
        f"or listen on this machine alone (--listen 127.0.0.1:{port}).",
        is_encrypted=config.tls_cert is not None or config.plaintext,
    )
    return host, port


async def serve(config: PageConfig) -> None:
    """Serve the page until SIGTERM or SIGINT."""
    check_directory(config.data)
    places.receiver()  # several cannot be asked: refused now, not on every page
    host, port = check_address(config)
    tls = tls_context(config.tls_cert, config.tls_key)
    runner = web.AppRunner(Server(config).application(), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
        except OSError as error:
            raise Busy(
                f"{config.listen} cannot be listened on: {error.strerror or error}",
                hint="Stop what holds it, or choose another: --listen 127.0.0.1:PORT",
            ) from error
        scheme = "http" if tls is None else "https"
        log.info("page", address=f"{scheme}://{bracket(host)}:{runner.addresses[0][1]}/", data=str(config.data))
        await _told_to_end()
    finally:
        await runner.cleanup()


async def _told_to_end() -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, ended.set)
    await ended.wait()


def run(config: PageConfig) -> None:
    """Serve the page, from a command."""
    asyncio.run(serve(config))
