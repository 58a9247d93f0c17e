"""Between an HTTP client and its transport: nothing of what passes is changed, and all of it is seen."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from otel_exporter.tracking import transport
from otel_exporter.tracking.transport import Exchange, looks_like_a_call, wrap

URL = "http://model/v1/chat/completions"
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ANSWER = json.dumps({"id": "c1", "object": "chat.completion", "choices": []}).encode()


class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """An answer that comes in pieces, and breaks off where one of them is an error."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


class Heard:
    """A client whose exchanges are kept once they have ended."""

    def __init__(self, answer: Any, **head: Any) -> None:
        self.ended: list[Exchange] = []
        self.answer, self.head = answer, head
        self.client = httpx.Client(transport=httpx.MockTransport(self._reply))
        assert wrap(self.client, self.begin) == 1

    def begin(self, request: Any) -> Exchange | None:
        return Exchange(request, {}, self.ended.append) if looks_like_a_call(request) else None

    def _reply(self, _: httpx.Request) -> httpx.Response:
        if isinstance(self.answer, Exception):
            raise self.answer
        body = {"content": self.answer} if isinstance(self.answer, bytes) else {"stream": self.answer}
        return httpx.Response(200, **body, **self.head)


@pytest.mark.parametrize("answer", [ANSWER, Stream(ANSWER[:5], ANSWER[5:])], ids=["at once", "in pieces"])
def test_an_answer_is_read_as_it_goes_by(answer: Any) -> None:
    """The agent gets every byte."""
    heard = Heard(answer)

    assert heard.client.post(URL, json=QUESTION).content == ANSWER

    (exchange,) = heard.ended
    assert [exchange.status, exchange.is_whole, exchange.error] == [200, True, None]
    assert exchange.question() == QUESTION
    assert exchange.answer() == json.loads(ANSWER)


def test_a_call_that_fails_raises_what_it_would_have_raised() -> None:
    """The failure is noted by its kind; there is no answer."""
    heard = Heard(httpx.ConnectError("refused"))

    with pytest.raises(httpx.ConnectError, match="refused"):
        heard.client.post(URL, json=QUESTION)

    (exchange,) = heard.ended
    assert [exchange.error, exchange.is_whole, exchange.answer()] == ["ConnectError", False, None]


def test_a_stream_that_breaks_is_not_whole() -> None:
    """The agent sees the same error; the exchange ends once."""
    heard = Heard(Stream(ANSWER[:5], httpx.ReadError("gone")))

    with pytest.raises(httpx.ReadError), heard.client.stream("POST", URL, json=QUESTION) as response:
        response.read()

    (exchange,) = heard.ended
    assert [exchange.error, exchange.is_whole] == ["ReadError", False]


def test_a_reader_who_had_enough_is_no_failure() -> None:
    """It closes the stream early: what came is noted as not whole, without an error."""
    heard = Heard(Stream(b"data: 1\n\n", b"data: 2\n\n"))

    with heard.client.stream("POST", URL, json=QUESTION) as response:
        next(response.iter_raw())

    (exchange,) = heard.ended
    assert [exchange.error, exchange.is_whole, exchange.pieces] == [None, False, [b"data: 1\n\n"]]


def test_an_asynchronous_client_is_heard_alike() -> None:
    """To its end, and up to a break."""
    ended: list[Exchange] = []

    async def ask(*pieces: Any) -> None:
        reply = httpx.MockTransport(lambda _: httpx.Response(200, stream=Stream(*pieces)))
        async with httpx.AsyncClient(transport=reply) as client:
            wrap(client, lambda request: Exchange(request, {}, ended.append))
            await client.post(URL, json=QUESTION)

    asyncio.run(ask(ANSWER))
    with pytest.raises(httpx.ReadError):
        asyncio.run(ask(ANSWER, httpx.ReadError("gone")))

    assert [[one.is_whole, one.error] for one in ended] == [[True, None], [False, "ReadError"]]
    assert ended[0].answer() == json.loads(ANSWER)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(ANSWER)),
        ("deflate", zlib.compress(ANSWER)),
        ("deflate", zlib.compress(ANSWER)[2:-4]),
        ("identity", ANSWER),
    ],
    ids=["gzip", "deflate", "raw deflate", "identity"],
)
def test_a_compressed_answer_is_read(encoding: str, body: bytes) -> None:
    """Also deflate without its header, as some servers write it."""
    heard = Heard(Stream(body), headers={"content-encoding": encoding})

    assert heard.client.post(URL, json=QUESTION).content == ANSWER

    assert heard.ended[0].answer() == json.loads(ANSWER)


def test_an_answer_beyond_the_bound_is_recorded_without_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent gets all of it; no more than the bound is held."""
    monkeypatch.setattr(transport, "MAX_BYTES", 80)
    heard = Heard(Stream(b"x" * 50, b"y" * 50, b"z" * 50))

    assert len(heard.client.post(URL, json=QUESTION).content) == 150

    (exchange,) = heard.ended
    assert [exchange.size_bytes, exchange.pieces, exchange.answer()] == [150, [b"x" * 50], None]


@pytest.mark.parametrize(
    ("method", "body", "is_call"),
    [
        ("POST", {"content": b' {"prompt": 1}'}, True),
        ("POST", {"content": b'{"name": "x"}'}, False),
        ("POST", {"content": b'--boundary "messages"'}, False),
        ("POST", {"content": b""}, False),
        ("PUT", {"content": b'{"prompt": 1}'}, False),
        ("POST", {"content": iter([b'{"prompt": 1}'])}, False),
    ],
)
def test_only_a_post_of_json_with_a_question_is_listened_to(
    method: str, body: dict[str, Any], *, is_call: bool
) -> None:
    """An upload, whose body is itself a stream, is not read ahead of its sending."""
    assert looks_like_a_call(httpx.Request(method, URL, **body)) is is_call


@pytest.mark.parametrize("body", [b'{"messages": ', b'["messages"]', b'{"other": "messages"}'])
def test_what_asks_nothing_is_no_question(body: bytes) -> None:
    """It looked like one by a word in it."""
    assert Exchange(httpx.Request("POST", URL, content=body), {}, lambda _: None).question() is None


def test_whoever_notes_an_exchange_cannot_harm_the_agent() -> None:
    """What goes wrong there stays there."""

    def finish(_: Exchange) -> None:
        raise RuntimeError("ours")

    exchange = Exchange(httpx.Request("POST", URL, json=QUESTION), {}, finish)
    exchange.end()

    assert exchange.is_whole


def test_clients_are_found_however_deep_and_wrapped_once() -> None:
    """A library's object around a client around one, with a proxy's transport mounted; asking again adds nothing."""
    inner = httpx.MockTransport(lambda _: httpx.Response(200))
    client = httpx.Client(transport=inner, mounts={"https://": httpx.MockTransport(lambda _: httpx.Response(200))})
    library = SimpleNamespace(chat=SimpleNamespace(_client=SimpleNamespace(_client=client)))
    library.chat.back = library

    assert [wrap(library, lambda _: None) for _ in range(2)] == [1, 1]

    assert client._transport.inner is inner  # type: ignore[attr-defined]
    assert all(isinstance(one, transport.SyncTransport) for one in client._mounts.values())
    assert client.get("https://elsewhere/").status_code == 200
    assert wrap(SimpleNamespace(name="no client"), lambda _: None) == 0
