"""What a request passes before it is looked at, in front of handlers that end in every way."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from serve.api.bodies import MalformedRequest
from serve.engines.engine import NotServing
from serve.gateway.access import Access
from serve.gateway.entrance import PROJECT, REQUEST_ID_HEADER, TRACE, TRACE_HEADER, BadRequest, Entrance
from tests.serving import write_keys

Ask = Callable[..., Awaitable[tuple[int, Any, Any]]]
PAGE = "https://app.example"


def visit(scenario: Callable[[Ask], Awaitable[None]], entrance: Entrance, *, fail: Exception | None = None) -> None:
    """Let a scenario ask an application that says whose request it got, or fails."""

    async def handle(request: web.Request) -> web.Response:
        request[TRACE] = "f" * 32
        if fail is not None:
            raise fail
        return web.json_response({"project": request.get(PROJECT)})

    async def main() -> None:
        app = web.Application(middlewares=entrance.middlewares)
        app.on_response_prepare.append(entrance.name_answer)
        app.add_routes([web.post("/v1/chat/completions", handle), web.get("/readyz", handle)])
        async with TestClient(TestServer(app)) as client:

            async def ask(method: str = "POST", path: str = "/v1/chat/completions", **headers: str) -> Any:
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                async with client.request(method, path, headers=named) as response:
                    body = await response.read()
                    return response.status, json.loads(body) if body else None, response.headers

            await scenario(ask)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fail", "status", "said"),
    [
        (BadRequest("no such model", status=404, code="model_not_found", param="model"), 404, "no such model"),
        (MalformedRequest("is no JSON"), 400, "is no JSON"),
        (NotServing("the engine is starting"), 503, "the engine is starting"),
        (aiohttp.ServerDisconnectedError(), 503, "the engine did not answer"),
        (ConnectionResetError("of /run/engine.sock"), 503, "the engine did not answer"),
        (web.HTTPRequestEntityTooLarge(1, 2), 413, "Request Entity Too Large"),
    ],
)
def test_every_error_is_one_openais_clients_read(fail: Exception, status: int, said: str) -> None:
    """What can be asked again says when; nothing of this machine is in the words."""

    async def scenario(ask: Ask) -> None:
        found, body, headers = await ask()
        assert (found, body["error"]["message"]) == (status, said)
        assert body["error"].keys() == {"message", "type", "param", "code"}
        assert ("Retry-After" in headers) == (status == 503)
        if isinstance(fail, BadRequest):
            assert (body["error"]["code"], body["error"]["param"]) == ("model_not_found", "model")

    visit(scenario, Entrance(None), fail=fail)


def test_a_wrong_path_and_a_wrong_method_are_errors_like_others() -> None:
    """And the method that is right is named."""

    async def scenario(ask: Ask) -> None:
        status, body, _ = await ask(path="/v1/nothing")
        assert (status, body["error"]["message"]) == (404, "Not Found")
        status, body, headers = await ask("DELETE")
        assert (status, body["error"]["message"]) == (405, "Method Not Allowed")
        assert headers["Allow"] == "POST"

    visit(scenario, Entrance(None))


def test_a_key_opens_and_its_project_goes_with_the_request(tmp_path: Path) -> None:
    """Without one nobody passes who is not a supervisor; one of another scope is told so."""
    keys = write_keys(tmp_path, here=["serve"], other=["ingest"])

    async def scenario(ask: Ask) -> None:
        assert (await ask(Authorization=f"Bearer {keys['here']}"))[:2] == (200, {"project": "p"})
        status, body, _ = await ask()
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        status, body, _ = await ask(Authorization=f"Bearer {keys['other']}")
        assert (status, body["error"]["code"]) == (403, "insufficient_permissions")
        assert (await ask("GET", "/readyz"))[0] == 200

    visit(scenario, Entrance(Access(tmp_path)))


def test_while_nobody_can_be_judged_nobody_passes(tmp_path: Path) -> None:
    """Keys that cannot be read are no reason to let everybody in, and none to send anybody away for good."""
    keys = write_keys(tmp_path, here=["serve"])

    async def scenario(ask: Ask) -> None:
        (tmp_path / "keys.json").write_text("{")
        status, body, headers = await ask(Authorization=f"Bearer {keys['here']}")
        assert status == 503
        assert "Retry-After" in headers
        assert str(tmp_path) not in str(body)

    visit(scenario, Entrance(Access(tmp_path)))


def test_a_page_may_ask_where_it_is_allowed(tmp_path: Path) -> None:
    """A foreign one is refused, and so is any by a name that is not this machine's; supervisors use any."""

    async def scenario(ask: Ask) -> None:
        status, _, headers = await ask("OPTIONS", Origin=PAGE)
        assert status == 204
        assert "X-Spanloop-Episode" in headers["Access-Control-Allow-Headers"]
        status, _, headers = await ask(Origin=PAGE)
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, PAGE)
        for method, expected in (("OPTIONS", 403), ("POST", 403)):
            status, _, headers = await ask(method, Origin="https://evil.example")
            assert status == expected
            assert "Access-Control-Allow-Origin" not in headers
        assert (await ask(Host="evil.example"))[0] == 403
        assert (await ask("GET", "/readyz", Host="node-7"))[0] == 200

    visit(scenario, Entrance(Access(tmp_path), (PAGE,)))


def test_a_page_reads_the_errors_of_its_requests_too(tmp_path: Path) -> None:
    """Else a browser would say of a wrong key that the network failed."""
    write_keys(tmp_path, here=["serve"])

    async def scenario(ask: Ask) -> None:
        status, _, headers = await ask(Origin=PAGE)
        assert (status, headers["Access-Control-Allow-Origin"]) == (401, PAGE)

    visit(scenario, Entrance(Access(tmp_path), (PAGE,)))


def test_every_answer_has_the_id_it_was_asked_with() -> None:
    """Or one of ours, where that cannot be written into a header or a log; and the trace of its call, an error too."""

    async def scenario(ask: Ask) -> None:
        for given in ("mine-1", "x" * 128):
            _, _, headers = await ask(x_request_id=given)
            assert headers[REQUEST_ID_HEADER] == given
        for given in ("x" * 129, "é", "", "a\tb"):
            _, _, headers = await ask(x_request_id=given)
            assert len(headers[REQUEST_ID_HEADER]) == 32
        _, _, headers = await ask()
        assert headers[TRACE_HEADER] == "f" * 32
        _, _, headers = await ask(path="/v1/nothing")
        assert TRACE_HEADER not in headers
        assert headers[REQUEST_ID_HEADER]

    visit(scenario, Entrance(None))
