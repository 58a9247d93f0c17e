"""The model that is asked what a reply means, behind a real server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from etl.rewards.signals import reply_judge
from etl.settings import EtlConfig

ANSWERS = {"fine then": "GOOD", "hm": "BAD.", "so": "NOTHING", "either": "GOOD or BAD", "silence": ""}


class Handler(BaseHTTPRequestHandler):
    """Answers chat completions by the reply that is shown; any other reply fails."""

    asked: list[dict[str, object]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append({**body, "key": self.headers.get("Authorization")})
        word = ANSWERS.get(json.loads(body["messages"][1]["content"])["reply"])
        self.send_response(500 if word is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [{"message": {"content": word}}]}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """Return the address of a judge."""
    Handler.asked = []
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_judges_word(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal words are asked about once; what is no word of the three says nothing."""
    monkeypatch.setenv(reply_judge.KEY, "secret")
    judge = reply_judge.load_judge(EtlConfig(reply_judge=url, reply_judge_model="m"))
    assert judge is not None

    found = [judge("q", "a", reply) for reply in ("fine then", "hm", "so", "either", "silence", "fine then")]

    assert found == [1.0, -1.0, 0.0, None, None, 1.0]
    assert len(Handler.asked) == 5
    assert {(one["model"], one["temperature"], one["key"]) for one in Handler.asked} == {("m", 0, "Bearer secret")}


def test_a_judge_that_fails_is_left_alone(url: str) -> None:
    """Its silence says nothing and ends no run."""
    judge = reply_judge.load_judge(EtlConfig(reply_judge=url))
    assert judge is not None

    assert [judge("q", "a", f"unknown {number}") for number in range(9)] == [None] * 9
    assert len(Handler.asked) == reply_judge.MOST_FAILURES


def test_no_judge_where_none_is_named() -> None:
    """Rules alone."""
    assert reply_judge.load_judge(EtlConfig()) is None
