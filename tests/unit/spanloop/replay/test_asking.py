"""One answer of an OpenAI-compatible endpoint, over HTTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from foundation.errors import SettingsError, SpanloopError
from spanloop.replay.asking import Endpoint, NoAnswer, find_model, is_url

GOOD = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}


@contextmanager
def answering(*answers: tuple[int, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve these answers one after the other; the last one for ever."""
    left, asked = list(answers), list[dict[str, Any]]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append({"headers": dict(self.headers), "body": json.loads(body)})
            self.do_GET()

        def do_GET(self) -> None:
            status, content = left.pop(0) if len(left) > 1 else left[0]
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def endpoint(url: str) -> Endpoint:
    return Endpoint(url, "m", "sk-secret", "r1", sleep=lambda _: None)


def test_a_busy_endpoint_is_asked_again() -> None:
    """Key, model and the replay's name go along; tokens that are not counted are not made up."""
    with answering((429, {}), (503, {}), (200, GOOD)) as (url, asked):
        answer = endpoint(url)({"messages": []})

    assert (answer.message["text"], answer.finish_reason, answer.tokens) == ("hi", "stop", None)
    assert len(asked) == 3
    assert asked[2]["body"]["model"] == "m"
    assert asked[2]["headers"]["Authorization"] == "Bearer sk-secret"
    assert asked[2]["headers"]["X-Spanloop-Replay"] == "r1"


@pytest.mark.parametrize(
    ("status", "content", "error"),
    [
        (400, {}, NoAnswer),
        (401, {}, SettingsError),
        (404, {}, SettingsError),
        (500, {}, SpanloopError),
        (200, {"choices": []}, SpanloopError),
        (200, [], SpanloopError),
    ],
)
def test_what_is_no_answer_says_so(status: int, content: object, error: type[Exception]) -> None:
    """A question that is refused is one thing; a wrong key, or another API, is the settings'."""
    with answering((status, content)) as (url, _), pytest.raises(error) as raised:
        endpoint(url)({"messages": []})

    assert "sk-secret" not in str(raised.value)


def test_an_endpoint_nobody_answers_at_is_named() -> None:
    """Its address is in the message."""
    with pytest.raises(SpanloopError, match=r"127\.0\.0\.1:9"):
        endpoint("http://127.0.0.1:9/v1")({"messages": []})


def test_the_one_model_an_endpoint_lists_is_taken() -> None:
    """A name and its `:live` are one model; of two somebody has to choose."""
    with answering((200, {"data": [{"id": "m:live"}, {"id": "m"}]})) as (url, _):
        assert find_model(url, key=None) == "m:live"
    with answering((200, {"data": [{"id": "a"}, {"id": "b"}]})) as (url, _), pytest.raises(SettingsError, match="a, b"):
        find_model(url, key=None)
    with answering((401, {})) as (url, _), pytest.raises(SettingsError, match="401"):
        find_model(url, key=None)


def test_an_address_is_told_from_a_directory() -> None:
    """By its scheme."""
    assert is_url("https://host/v1")
    assert not is_url("checkpoints/x")
    assert not is_url("http:")


def test_an_answer_has_a_limit_where_the_question_names_none() -> None:
    """The question's own limit stands; without either, nothing is added that an endpoint might not know."""
    with answering((200, GOOD)) as (url, asked):
        Endpoint(url, "m", max_tokens=300)({"messages": []})
        Endpoint(url, "m", max_tokens=300)({"messages": [], "max_tokens": 9})
        Endpoint(url, "m")({"messages": []})

    assert [one["body"].get("max_tokens") for one in asked] == [300, 9, None]
