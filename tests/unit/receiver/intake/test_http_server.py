"""What the HTTP port answers where something goes wrong, without a process around it."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from google.rpc.code_pb2 import INVALID_ARGUMENT, UNAVAILABLE
from google.rpc.status_pb2 import Status

from foundation.web.keys import keys_path
from receiver.decode.refusals import Overloaded
from receiver.intake.access import Access
from receiver.intake.entry import Intake
from receiver.intake.http_server import HttpServer
from receiver.pipeline import Pipeline
from receiver.settings import ReceiverConfig
from tests.export_requests import span, traces

PROTOBUF, JSON = {"Content-Type": "application/x-protobuf"}, {"Content-Type": "application/json"}
BODY = traces(span(1)).SerializeToString()

Talk = Callable[[Any], Awaitable[Any]]
Ask = Callable[..., Any]


class Failing(Intake):
    """Takes nothing while there is an error to raise."""

    error: Exception | None = None

    def begin(self, *given: Any, **more: Any) -> Any:
        if self.error is not None:
            raise self.error
        return super().begin(*given, **more)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with closing(Pipeline(tmp_path_factory.mktemp("http"))) as pipeline:
        yield pipeline


@pytest.fixture
def intake(pipeline: Pipeline) -> Failing:
    return Failing(pipeline)


@pytest.fixture
def ask(pipeline: Pipeline, intake: Failing) -> Ask:
    """Have a client talk to the routes."""
    config = ReceiverConfig(data=Path(pipeline.data), max_request_mb=1)

    def run(talk: Talk, *, is_ready: bool = True) -> Any:
        server = HttpServer(pipeline, intake, config, access=Access(config.data, token="local"))
        server.is_ready = is_ready

        async def within() -> Any:
            served = TestServer(server._application())
            await served.start_server(auto_decompress=False)  # as `runner` has it
            async with TestClient(served) as client:
                return await talk(client)

        return asyncio.run(within())

    return run


def answer(ask: Ask, path: str, data: bytes, headers: dict[str, str]) -> tuple[int, Any, bytes]:
    async def talk(client: Any) -> tuple[int, Any, bytes]:
        async with client.post(
            path, data=io.BytesIO(data), headers=headers, skip_auto_headers=["Accept-Encoding"]
        ) as response:
            return response.status, response.headers, await response.read()

    found: tuple[int, Any, bytes] = ask(talk)
    return found


def test_what_is_taken_is_answered_in_the_encoding_it_came_in(ask: Ask) -> None:
    """Empty, since all of it was stored."""
    status, headers, body = answer(ask, "/v1/traces", BODY, PROTOBUF)
    assert (status, headers["Content-Type"], body) == (200, "application/x-protobuf", b"")

    status, headers, body = answer(ask, "/v1/traces", b'{"resourceSpans": []}', JSON)
    assert (status, headers["Content-Type"].split(";")[0], json.loads(body)) == (200, "application/json", {})


@pytest.mark.parametrize(
    ("error", "said"), [(Overloaded("no room"), "no room"), (KeyError("ours"), "an internal error")]
)
@pytest.mark.parametrize("headers", [PROTOBUF, JSON], ids=["protobuf", "json"])
def test_what_may_come_again_is_told_so(
    ask: Ask, intake: Failing, error: Exception, said: str, headers: dict[str, str]
) -> None:
    """Want of room, and a mistake of ours, whose text is nobody's business."""
    intake.error = error

    status, head, body = answer(ask, "/v1/traces", BODY if headers is PROTOBUF else b"{}", headers)

    message = json.loads(body) if headers is JSON else Status.FromString(body)
    found = (message["code"], message["message"]) if isinstance(message, dict) else (message.code, message.message)
    assert [status, *found] == [503, UNAVAILABLE, said]
    assert int(head["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({**PROTOBUF, "Content-Encoding": "snappy"}, 415),
        ({**PROTOBUF, "Content-Encoding": "gzip"}, 400),
    ],
)
def test_what_cannot_be_read_is_refused_for_good(ask: Ask, headers: dict[str, str], status: int) -> None:
    """Another type, an encoding nobody knows (those that are read are named), and one that it is not."""
    found, head, body = answer(ask, "/v1/traces", BODY, headers)

    assert [found, "Retry-After" in head] == [status, False]
    if "Content-Encoding" in headers:
        assert Status.FromString(body).code == INVALID_ARGUMENT
        assert ("gzip" in head.get("Accept-Encoding", "")) is (status == 415)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"name": "outcome"', 400),
        (b"[]", 400),
        (b"{}", 400),
        (b"x" * (1 << 20) + b"x", 413),
    ],
    ids=["half", "list", "nothing", "large"],
)
def test_a_reward_that_is_none_is_refused(ask: Ask, body: bytes, status: int) -> None:
    """With a word of what is wrong, as JSON."""
    found, _, said = answer(ask, "/v1/rewards", body, JSON)

    assert found == status
    assert json.loads(said)["error"]


@pytest.mark.parametrize(("error", "said"), [(Overloaded("no room"), "no room"), (KeyError("x"), "an internal error")])
def test_a_reward_that_is_not_taken_comes_again(ask: Ask, intake: Failing, error: Exception, said: str) -> None:
    """Whoever gives it is told when, and that it was not their mistake."""
    intake.error = error
    body = json.dumps({"trace_id": "ab" * 16, "name": "outcome", "value": 1.0}).encode()

    status, head, told = answer(ask, "/v1/rewards", body, JSON)

    assert [status, int(head["Retry-After"]) > 0, json.loads(told)] == [503, True, {"error": said}]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'"select 1"', b'{"sql": 7}', b'{"parameters": []}', b'{"sql": "select 1", "parameters": 7}'],
)
def test_a_question_that_is_none_is_told_what_one_looks_like(ask: Ask, body: bytes) -> None:
    """Also one for a format nobody writes."""
    for path, asked in (("/v1/sql", body), ("/v1/sql?format=xml", b'{"sql": "select 1"}')):
        status, _, said = answer(ask, path, asked, JSON)
        assert status == 400
        assert '{"sql": "select' in json.loads(said)["error"]


def test_a_backup_and_all_rows_are_for_this_machines_own_commands(ask: Ask) -> None:
    """Whoever comes without the token of the run is refused before anything is copied."""
    status, _, said = answer(ask, "/v1/backup", b"", JSON)

    assert status == 403
    assert "on this machine" in json.loads(said)["error"]


def test_readiness_is_said_and_health_is_another_question(ask: Ask) -> None:
    """Before the ports are announced, and at the end, it lives and is not ready."""

    async def talk(client: Any) -> list[int]:
        return [(await client.get(path)).status for path in ("/healthz", "/readyz", "/v1/traces", "/nothing")]

    assert ask(talk) == [200, 200, 405, 404]
    assert ask(talk, is_ready=False) == [200, 503, 405, 404]


def test_rows_are_streamed_to_the_runs_own_commands(ask: Ask) -> None:
    """A statement that fails before its first row is an answer; what is no SELECT is refused."""
    local = {**JSON, "Authorization": "Bearer local"}

    good = answer(ask, "/v1/sql", b'{"sql": "select 7 as x", "unbounded": true}', local)
    bad = answer(ask, "/v1/sql", b'{"sql": "select nothing from spans"}', local)
    refused = answer(ask, "/v1/sql", b'{"sql": "drop table spans"}', local)

    assert (good[0], good[1]["Content-Type"]) == (200, "application/vnd.apache.arrow.stream")
    assert [bad[0], refused[0]] == [400, 400]
    assert "nothing" in json.loads(bad[2])["error"]


def test_no_answer_says_where_the_directory_lies(ask: Ask, pipeline: Pipeline) -> None:
    """Neither a query that fails over a file, nor one who cannot be judged, nor health; a command here is told."""
    published = pipeline.data / "dataset" / "tables.json"
    published.parent.mkdir()
    published.write_text('{"version": 1, "files": {"llm_calls": ["gone.parquet"]}}')
    body = json.dumps({"sql": "from llm_calls"}).encode()

    async def talk(client: Any) -> list[tuple[int, str]]:
        answers = []
        for headers in ({}, {"Authorization": "Bearer local"}):
            async with client.post("/v1/sql", data=body, headers={**JSON, **headers}) as response:
                answers.append((response.status, await response.text()))
        keys_path(pipeline.data).write_text("{")
        for method, path in (("POST", "/v1/traces"), ("GET", "/readyz"), ("POST", "/v1/sql")):
            headers = {**JSON, "X-Api-Key": "sl_1_2"}
            async with client.request(method, path, data=b"{}", headers=headers) as response:
                answers.append((response.status, await response.text()))
        keys_path(pipeline.data).unlink()
        return answers

    (asked, by_a_command), *others = (found := ask(talk))[:2], *found[2:]
    published.unlink()

    assert "gone.parquet" in asked[1], found
    assert [status for status, _ in found] == [400, 400, 503, 503, 503]
    assert str(pipeline.data) in by_a_command[1]
    assert not [text for _, text in (asked, *others) if str(pipeline.data) in text]
