"""The embedded engine's API over real HTTP, before a sampler that says what it is told."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from serve.engines.embedded.grammar import GrammarFailed
from serve.engines.embedded.models import Job, Piece
from serve.engines.embedded.server import make_app
from tests.unit.serve.engines.embedded.reading_aloud import ReadingAloud

CHAT = {"model": "base", "messages": [{"role": "user", "content": "hi"}]}
ANSWERS = ["/v1/chat/completions", "/v1/completions", "/v1/responses"]
FORMS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "base", "prompt": "hi"},
    "/v1/responses": {"model": "base", "input": "hi"},
}
Post = Callable[..., Awaitable[tuple[ClientResponse, bytes]]]


class GivingUp(ReadingAloud):
    """Whose grammar library gives up after the first token."""

    async def sample(self, job: Job) -> AsyncGenerator[Piece, None]:
        async for piece in super().sample(job):
            yield piece
            raise GrammarFailed("response_format", "asks for a form that cannot be kept to: too deep")


@pytest.fixture(scope="module")
def giving_up(path: Path) -> ReadingAloud:
    return GivingUp(path, "base")


def serve(engine: ReadingAloud, scenario: Callable[[Post], Awaitable[None]]) -> None:
    async def main() -> None:
        async with TestClient(TestServer(make_app(engine))) as client:

            async def post(path: str, body: Any) -> tuple[ClientResponse, bytes]:
                data = body if isinstance(body, bytes) else json.dumps(body)
                async with client.post(path, data=data) as response:
                    return response, await response.read()

            await scenario(post)

    asyncio.run(main())


def events(body: bytes) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in body.decode().splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


@pytest.mark.parametrize("route", ANSWERS)
def test_an_answer_comes_whole_or_in_pieces_and_is_the_same(speaker: ReadingAloud, route: str) -> None:
    """Pieces as server-sent events, ended as each API ends them."""
    speaker.script = "so"

    async def scenario(post: Post) -> None:
        response, whole = await post(route, FORMS[route])
        assert (response.status, response.content_type) == (200, "application/json")
        assert "so" in whole.decode()
        response, body = await post(route, {**FORMS[route], "stream": True})
        assert (response.status, response.content_type) == (200, "text/event-stream")
        found = events(body)
        if route == "/v1/responses":
            assert found[-1]["response"]["output"][0]["content"] == json.loads(whole)["output"][0]["content"]
            assert [f"event: {each['type']}" for each in found] == [
                line for line in body.decode().splitlines() if line.startswith("event: ")
            ]
        else:
            assert found[-1] == "[DONE]"
            said = [choice.get("text", choice.get("delta", {}).get("content")) for choice in _choices(found[:-1])]
            assert "".join(text or "" for text in said) == "so"

    serve(speaker, scenario)


def _choices(chunks: list[Any]) -> list[dict[str, Any]]:
    return [choice for chunk in chunks for choice in chunk["choices"]]


@pytest.mark.parametrize("route", [*ANSWERS, "/tokenize", "/detokenize"])
def test_what_cannot_be_understood_is_refused_and_never_a_failure(speaker: ReadingAloud, route: str) -> None:
    """Whatever was sent: the gateway passes on what clients send, and takes a 500 for an engine that is ill."""
    odd = [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        {**FORMS.get(route, {}), "model": "base", "messages": 5, "prompt": 5, "input": 5, "tokens": 5},
        {**FORMS.get(route, {}), "model": "base", "messages": [5], "prompt": [[{}]], "input": [5], "tokens": [-1]},
        {**FORMS.get(route, {}), "model": "base", "tokens": [2**70], "temperature": "hot"},
    ]

    async def scenario(post: Post) -> None:
        for body in odd:
            response, said = await post(route, body)
            assert response.status == 400, (body if isinstance(body, dict) else body[:9], said)
            error = json.loads(said)["error"]
            assert (error["type"], error["code"]) == ("BadRequestError", 400)
            assert error["message"]

    serve(speaker, scenario)


def test_a_refusal_names_the_parameter_and_a_model_that_is_not_there_is_404(speaker: ReadingAloud) -> None:
    """What the gateway passes on to the client as it is."""

    async def scenario(post: Post) -> None:
        response, said = await post("/v1/chat/completions", {**CHAT, "temperature": -1})
        assert (response.status, json.loads(said)["error"]["param"]) == (400, "temperature")
        for route in ANSWERS:
            response, said = await post(route, {**FORMS[route], "model": "other"})
            assert (response.status, json.loads(said)["error"]["code"]) == (404, 404)

    serve(speaker, scenario)


@pytest.mark.parametrize("route", ANSWERS)
def test_a_form_that_fails_on_the_way_is_said_however_much_was_sent(giving_up: ReadingAloud, route: str) -> None:
    """As a refusal where nothing was, else as an event of the stream; no answer is cut short in silence."""
    giving_up.script = "so"

    async def scenario(post: Post) -> None:
        response, said = await post(route, FORMS[route])
        assert (response.status, json.loads(said)["error"]["param"]) == (400, "response_format")
        response, body = await post(route, {**FORMS[route], "stream": True})
        assert response.status == 200
        found = [each for each in events(body) if each != "[DONE]"]
        error = found[-1] if route == "/v1/responses" else found[-1]["error"]
        assert (error["param"], "too deep" in error["message"]) == ("response_format", True)
        assert len(found) > 1

    serve(giving_up, scenario)


def test_text_to_ids_and_back(speaker: ReadingAloud) -> None:
    """Through the server, as the gateway's clients ask."""

    async def scenario(post: Post) -> None:
        _, said = await post("/tokenize", {"prompt": "héllo"})
        _, text = await post("/detokenize", {"tokens": json.loads(said)["tokens"]})
        assert json.loads(text) == {"prompt": "héllo"}

    serve(speaker, scenario)


def test_weights_that_cannot_be_loaded_leave_those_from_before(speaker: ReadingAloud, tmp_path: Path) -> None:
    """The gateway is told why, and calls go on; what was never there can be unloaded."""
    speaker.script = "so"

    async def scenario(post: Post) -> None:
        for request in ({"path": str(tmp_path / "none"), "name": "base"}, {"name": "base"}, {"path": 5, "name": "b"}):
            response, said = await post("/load", request)
            assert response.status == 200
            assert json.loads(said)["ok"] is False
            assert json.loads(said)["error"]
        assert json.loads((await post("/unload", {"name": "never"}))[1]) == {"ok": True}
        assert (await post("/v1/chat/completions", CHAT))[0].status == 200

    serve(speaker, scenario)
