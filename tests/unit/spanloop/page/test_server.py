"""The page's server: what becomes of errors, who is let through, and which addresses are too wide."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from foundation.errors import Busy, SettingsError, SpanloopError
from foundation.web.keys import Forbidden, Scope, create_key, keys_path
from spanloop.page import server
from spanloop.page.entrance import HEADERS
from spanloop.page.server import Server, check_address, is_own_address, run
from spanloop.page.settings import PageConfig
from spanloop.page.visit import NotThere, Visit

Browse = Callable[[TestClient[Any, Any]], Awaitable[Any]]


def browse(data: Path, browsing: Browse) -> Any:
    """Return what somebody who browses the page of DATA comes back with."""

    async def go() -> Any:
        config = PageConfig(data=data, listen="127.0.0.1:8317")
        async with TestClient(TestServer(Server(config).application())) as client:
            return await browsing(client)

    return asyncio.run(go())


def answering(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None, path: str = "/page") -> None:
    """Have the page be one handler, which answers or raises."""

    async def handle(_: Visit) -> web.StreamResponse:
        if error is not None:
            raise error
        return web.Response(text="done")

    monkeypatch.setattr(server, "ROUTES", (("GET", path, handle), ("POST", path, handle)))


async def got(response: ClientResponse) -> tuple[int, str, dict[str, str]]:
    return response.status, await response.text(), dict(response.headers)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (NotThere("no such trace"), 404, "no such trace"),
        (NotThere(), 404, "no such page"),
        (SettingsError("wrong <b>", hint="Mend it."), 400, "Mend it."),
        (SpanloopError("failed"), 400, "failed"),
        (Busy("come again"), 503, "come again"),
        (Forbidden("not you"), 403, "not you"),
        (web.HTTPRequestEntityTooLarge(1, 2), 413, "Too Large"),
        (ValueError("what a user said"), 500, "has a bug here"),
    ],
)
def test_every_error_is_a_page_that_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, said: str
) -> None:
    """With the headers of every answer; what a bug of ours was holding is not shown."""
    answering(monkeypatch, error)

    async def go(client: TestClient[Any, Any]) -> Any:
        return await got(await client.get("/page"))

    found, text, headers = browse(tmp_path, go)

    assert (found, said in text) == (status, True)
    assert "what a user said" not in text
    assert "<b>" not in text
    assert {name: headers.get(name) for name in HEADERS} == dict(HEADERS)


def test_an_address_that_is_none_is_a_page_too(tmp_path: Path) -> None:
    """As is a method that nothing answers; static files may be kept, since their address changes with them."""

    async def go(client: TestClient[Any, Any]) -> Any:
        return [
            await got(await client.get("/none")),
            await got(await client.put("/traces")),
            await got(await client.get("/static/page.css")),
        ]

    (none, _, _), (wrong, page, _), (there, _, kept) = browse(tmp_path, go)

    assert (none, wrong, there) == (404, 405, 200)
    assert "Method Not Allowed" in page
    assert "immutable" in kept["Cache-Control"]


def test_a_form_of_another_session_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keys, too: the cookie is set at the first visit, and nothing is done before."""
    answering(monkeypatch)

    async def go(client: TestClient[Any, Any]) -> Any:
        first = await got(await client.post("/page", data={"form_token": "0"}))
        visited = await client.get("/page")
        second = await got(await client.post("/page", data={"form_token": "0"}))
        return first[0], visited.headers.get("Set-Cookie", ""), second[0]

    first, cookie, second = browse(tmp_path, go)

    assert (first, second) == (403, 403)
    assert all(part in cookie for part in ("spanloop_8317=", "HttpOnly", "SameSite=Strict"))


@pytest.mark.parametrize(("to", "leads"), [("/traces?a=b", "/traces?a=b"), ("//evil.example", "/"), ("", "/")])
def test_a_login_leads_to_the_page_itself(tmp_path: Path, to: str, leads: str) -> None:
    """Wherever its address would have it; a wrong key stays where it is."""
    key = create_key(tmp_path, name="me", project="shop", scopes=[Scope.QUERY])

    async def go(client: TestClient[Any, Any]) -> Any:
        asked = await client.get("/traces", allow_redirects=False)
        wrong = await client.post("/login", data={"key": "sl_wrong", "to": to}, allow_redirects=False)
        right = await client.post("/login", data={"key": f" {key}\n", "to": to}, allow_redirects=False)
        return asked.headers["Location"], wrong.status, right.status, right.headers["Location"]

    assert browse(tmp_path, go) == ("/login?to=%2Ftraces", 403, 303, leads)


def test_what_belongs_to_no_project_is_for_admins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever handler answers there."""
    answering(monkeypatch, path="/checkpoints/new")
    headers = {
        scope: {"Authorization": f"Bearer {create_key(tmp_path, name='k', project='p', scopes=[scope])}"}
        for scope in (Scope.QUERY, Scope.ADMIN)
    }

    async def go(client: TestClient[Any, Any]) -> Any:
        return [(await client.get("/checkpoints/new", headers=headers[scope])).status for scope in headers]

    assert browse(tmp_path, go) == [403, 200]


def test_keys_that_cannot_be_read_let_nobody_in(tmp_path: Path) -> None:
    """And who is not known yet is not told where they lie."""
    key = create_key(tmp_path, name="me", project="p", scopes=[Scope.QUERY])

    async def go(client: TestClient[Any, Any]) -> Any:
        keys_path(tmp_path).write_text("{")
        return [
            await got(await client.get("/traces", headers={"Authorization": f"Bearer {key}"})),
            await got(await client.post("/login", data={"key": key})),
        ]

    (status, text, headers), login = browse(tmp_path, go)

    assert (status, login[0], "API keys cannot be read" in text, str(tmp_path) in text) == (503, 503, True, False)
    assert headers["X-Frame-Options"] == "DENY"


def test_an_address_that_others_reach_needs_keys_and_encryption(tmp_path: Path) -> None:
    """On this machine alone neither."""
    assert check_address(PageConfig(data=tmp_path, listen="127.0.0.1:9000")) == ("127.0.0.1", 9000)
    wide = PageConfig(data=tmp_path, listen="0.0.0.0:9000")
    with pytest.raises(SettingsError, match="read prompts"):
        check_address(wide)
    create_key(tmp_path, name="me", project="p", scopes=[Scope.QUERY])
    with pytest.raises(SettingsError):
        check_address(wide)

    assert check_address(wide.model_copy(update={"plaintext": True})) == ("0.0.0.0", 9000)


def test_of_several_receivers_it_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks one; nor of a store, which answers nobody."""
    for named in ("http://a:4318 http://b:4318", "s3://bucket/spanloop"):
        monkeypatch.setenv("SPANLOOP_RECEIVER", named)
        with pytest.raises(SettingsError, match="this asks one"):
            run(PageConfig(data=tmp_path, listen="127.0.0.1:0"))


@pytest.mark.parametrize("text", ["/\t/evil", "/a\nb", "/\\evil", "traces", "javascript:x"])
def test_an_address_that_a_browser_might_read_otherwise_is_not_our_own(text: str) -> None:
    """Such as one with signs that browsers leave out."""
    assert not is_own_address(text)
    assert is_own_address("/traces/" + re.sub(r"\W", "", text))
