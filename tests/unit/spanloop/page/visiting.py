"""A browser's visit to one handler of the page, whose questions are answered from tables in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from foundation import rows
from foundation.errors import SettingsError
from foundation.web.keys import Scope
from receiver.traces import OF_SPANS
from spanloop.page import render
from spanloop.page.entrance import Visitor
from spanloop.page.questions import Asker, Form, Question, Questions
from spanloop.page.visit import Visit
from tests.spans import Span, logs_frame, spans_frame

ADMIN = Visitor("admin", None, frozenset(Scope))
TEMPLATES = render.environment()
Handler = Callable[[Visit], Awaitable[web.StreamResponse]]


class Tables(Questions):
    """Answers from an in-memory database, and keeps what was asked."""

    def __init__(self, spans: Iterable[Span] = (), *statements: str) -> None:
        super().__init__(Path("/nowhere"))
        self.database = duckdb.connect()
        self.questions: list[str] = []
        for name, frame in (("spans", spans_frame(list(spans))), ("log_records", logs_frame())):
            self.database.register("frame", frame.to_arrow())
            self.database.execute(f"create table {name} as select * from frame")
        self.database.execute(f"create view trace_parts as {OF_SPANS.format(spans='spans')}")
        for statement in statements:
            self.database.execute(statement)

    async def stream(self, _: Asker, question: Question, form: Form) -> AsyncIterator[bytes]:
        """Yield the whole answer."""
        self.questions.append(question.sql)
        try:
            found = self.database.sql(question.sql, params=list(question.parameters)).to_arrow_table()
        except duckdb.Error as error:
            raise SettingsError(str(error), hint="Mend it.") from error
        yield rows.as_json(found) if form == "json" else rows.as_csv(found)


@dataclass
class Seen:
    """What a browser got, or what the handler raised."""

    status: int
    headers: dict[str, str]
    body: bytes
    raised: Exception | None = field(default=None)

    @property
    def text(self) -> str:
        return self.body.decode()


async def opened(handler: Handler, route: str, *, tables: Tables, data: Path, visitor: Visitor) -> TestClient[Any, Any]:
    """Return a browser's end of a server with one handler."""

    async def handle(request: web.Request) -> web.StreamResponse:
        visit = Visit(request, visitor, data, tables, TEMPLATES, needs_key=False)
        try:
            return await handler(visit)
        except Exception as error:
            request.app[RAISED].append(error)
            raise

    application = web.Application()
    application[RAISED] = []
    application.router.add_route("*", route, handle)
    client: TestClient[Any, Any] = TestClient(TestServer(application))
    await client.start_server()
    return client


RAISED: web.AppKey[list[Exception]] = web.AppKey("raised", list)


def see(
    handler: Handler,
    address: str,
    *,
    route: str = "",
    tables: Tables | None = None,
    data: Path = Path("/nowhere"),
    visitor: Visitor = ADMIN,
    form: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Seen:
    """Return what a handler answers; with a form, to a POST. What it raised is raised here."""

    async def go() -> Seen:
        client = await opened(
            handler, route or address.partition("?")[0], tables=tables or Tables(), data=data, visitor=visitor
        )
        try:
            sent = (
                client.post(address, data=form, headers=headers)
                if form is not None
                else client.get(address, headers=headers)
            )
            async with sent as response:
                seen = Seen(response.status, dict(response.headers), await response.read())
            raised = client.server.app[RAISED]  # type: ignore[attr-defined]
            if raised:
                raise raised[0]
            return seen
        finally:
            await client.close()

    return asyncio.run(go())
