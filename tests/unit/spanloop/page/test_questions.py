"""What the page asks a receiver: in whose name, within which bounds, and what is told where it goes wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from foundation.errors import Busy, SettingsError
from spanloop.page import questions
from spanloop.page.questions import Answer, Question, Questions
from tests.silent import nobody


@dataclass
class Asker:
    project: str | None = None
    key: str = ""


ROWS = b'[{"n": 1}]'


def asking(
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ask: Callable[[Questions], Awaitable[Any]],
) -> Any:
    """Return what is told where a receiver gives this answer to everything."""

    async def go() -> Any:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", answer)
        async with TestServer(application) as server:
            monkeypatch.setenv("SPANLOOP_RECEIVER", str(server.make_url("/")))
            asked = Questions(Path("/nowhere"))
            try:
                return await ask(asked)
            finally:
                await asked.close()

    return asyncio.run(go())


def always(status: int, body: bytes) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body)

    return answer


@pytest.mark.parametrize(("key", "shown"), [("sl_secret", "Bearer sl_secret"), ("", None)])
def test_a_question_is_asked_with_the_askers_own_key(
    monkeypatch: pytest.MonkeyPatch, key: str, shown: str | None
) -> None:
    """A key that was revoked is told no more; values go beside the statement."""
    seen: list[Any] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append((request.headers.get("Authorization"), request.query["format"], await request.json()))
        return web.Response(body=ROWS)

    told = asking(monkeypatch, answer, lambda asked: asked.ask(Asker(key=key), Question("select ?", ("it's",))))

    assert (told.rows, told.problem) == ([{"n": 1}], None)
    assert seen == [(shown, "json", {"sql": "select ?", "parameters": ["it's"]})]


@pytest.mark.parametrize(
    ("status", "body", "problem", "hint"),
    [
        (400, b'{"error": "no such column", "hint": "Name another."}', "no such column", "Name another."),
        (503, b'{"message": "busy"}', "busy", None),
        (500, b"<html>", "the receiver answered 500", None),
        (502, b"[]", "the receiver answered 502", None),
    ],
)
def test_a_refusal_is_part_of_the_answer(
    monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, problem: str, hint: str | None
) -> None:
    """In the receiver's words; where it has none, by its status."""
    told = asking(monkeypatch, always(status, body), lambda asked: asked.ask(Asker(), Question("select 1")))

    assert (told.rows, told.problem, told.hint) == ([], problem, hint)


def test_an_answer_that_is_too_large_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to all of it is said; one of just that size is."""
    monkeypatch.setattr(questions, "MAX_BYTES", len(ROWS))
    whole = asking(monkeypatch, always(200, ROWS), lambda asked: asked.ask(Asker(), Question("select 1")))
    large = asking(monkeypatch, always(200, ROWS + b" "), lambda asked: asked.ask(Asker(), Question("select 1")))

    assert (whole.problem, "larger than" in large.problem, "LIMIT" in large.hint) == (None, True, True)


def test_a_receiver_that_goes_away_in_the_middle_is_no_whole_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader is told to load again."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(ROWS)
        assert request.transport is not None
        request.transport.abort()
        return response

    told = asking(monkeypatch, answer, lambda asked: asked.ask(Asker(), Question("select 1")))

    assert (told.rows, "stopped answering" in told.problem, told.hint) == ([], True, "Load the page again.")


def test_what_is_posted_needs_a_receiver_that_takes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None that is full, none that refuses, none that is away."""
    for status, kind in ((503, Busy), (403, SettingsError)):
        with pytest.raises(kind, match="no"):
            asking(
                monkeypatch, always(status, b'{"error": "no"}'), lambda asked: asked.post(Asker(), "/v1/rewards", {})
            )
    with nobody() as address:
        monkeypatch.setenv("SPANLOOP_RECEIVER", address)
        with pytest.raises(Busy, match="stopped answering"):
            asyncio.run(with_questions(tmp_path, lambda asked: asked.post(Asker(), "/v1/rewards", {})))
    monkeypatch.delenv("SPANLOOP_RECEIVER")
    with pytest.raises(Busy, match="no receiver runs"):
        asyncio.run(with_questions(tmp_path, lambda asked: asked.post(Asker(), "/v1/rewards", {})))


async def with_questions(data: Path, ask: Callable[[Questions], Awaitable[Any]]) -> Any:
    asked = Questions(data)
    try:
        return await ask(asked)
    finally:
        await asked.close()


def test_counters_nobody_tells_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where they are refused, and where the receiver is away: the page goes on without."""
    text = asking(monkeypatch, always(200, b"a 1"), lambda asked: asked.get_text(Asker(), "/metrics"))
    refused = asking(monkeypatch, always(403, b"a 1"), lambda asked: asked.get_text(Asker(), "/metrics"))
    with nobody() as address:
        monkeypatch.setenv("SPANLOOP_RECEIVER", address)
        away = asyncio.run(with_questions(tmp_path, lambda asked: asked.get_text(Asker(), "/metrics")))

    assert [text, refused, away] == ["a 1", None, None]


def test_columns_of_numbers_alone_are_numeric() -> None:
    """Nothing beside them counts for nothing, and nothing else stands with them; a truth is no number."""
    rows = [
        {"n": 1, "maybe": None, "text": "1", "truth": True, "nothing": None},
        {"n": 0.5, "maybe": 2, "text": 1, "truth": False, "nothing": None},
    ]
    answer = Answer(Question(""), rows)

    assert answer.numeric == {"n", "maybe", "nothing"}
    assert (Answer(Question("")).numeric, Answer(Question("")).first) == (set(), {})


def test_a_question_is_shown_as_somebody_would_type_it() -> None:
    """What is nothing is null, and question marks within texts stay."""
    assert Question("select ?, '?''?', ?", [None, 0.5]).shown == "select null, '?''?', 0.5"
