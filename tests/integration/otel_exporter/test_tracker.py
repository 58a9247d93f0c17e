"""Real clients, tracked and not: what they hand back is the same, and every call is recorded once."""

import asyncio
import contextlib
import gc
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel

from otel_exporter import schema, tracker
from otel_exporter.sending.sender import Sender
from otel_exporter.tracking import outbox
from tests.model_server import TEXT, ModelServer, model_server

pytestmark = [
    pytest.mark.integration,
    # Agents do not close their clients either; what the garbage collector says of it is not about us.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CERTIFICATES = ssl.create_default_context()
"""Made once: each client would read all of the system's for itself, which takes longer than the calls."""

MESSAGES: Any = [{"role": "user", "content": "Grüß Gott 🗼"}]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    with model_server() as one:
        sender = Sender({"SPANLOOP_EXPORTER_OTLP_ENDPOINT": one.url})
        monkeypatch.setattr(outbox, "_shared", sender)
        yield one
        gc.collect()  # a stream that lies about would be recorded after the test, by another sender
        sender.close()


def recorded(server: ModelServer) -> list[dict[str, Any]]:
    """Return the spans of model calls, once everything was sent."""
    assert tracker.flush()
    return [span for span in server.spans() if schema.REQUEST_BODY in span["attributes"]]


class Answer(BaseModel):
    """What `parse` is told to expect; the scripted answer is no JSON, which is part of the test."""

    text: str


FORMS: dict[str, Callable[[Any, bool], Any]] = {
    "chat": lambda c, stream: c.chat.completions.create(model="m", messages=MESSAGES, stream=stream),
    "with_options": lambda c, stream: c.with_options(timeout=9).chat.completions.create(
        model="m", messages=MESSAGES, stream=stream
    ),
    "copy": lambda c, stream: c.copy().chat.completions.create(model="m", messages=MESSAGES, stream=stream),
    "completions": lambda c, stream: c.completions.create(model="m", prompt="Grüß", stream=stream),
    "responses": lambda c, stream: c.responses.create(model="m", input="Grüß", stream=stream),
    "raw": lambda c, stream: c.chat.completions.with_raw_response.create(model="m", messages=MESSAGES, stream=stream),
    "post": lambda c, _: c.post(
        "/chat/completions", body={"model": "m", "messages": MESSAGES, "stream": False}, cast_to=object
    ),
    "parse": lambda c, _: c.chat.completions.parse(model="m", messages=MESSAGES),
    "extra": lambda c, stream: c.chat.completions.create(
        model="m", messages=MESSAGES, stream=stream, extra_headers={"x-mine": "1"}, extra_body={"top_k": 3}
    ),
}


def seen(result: Any) -> Any:
    """Return everything a caller can see of an answer: its types and its content."""
    if hasattr(result, "parse") and hasattr(result, "http_response"):
        return type(result), result.status_code, seen(result.parse())
    if isinstance(result, BaseModel):
        return type(result), result.model_dump()
    if isinstance(result, openai.Stream | anthropic.Stream):
        return type(result), [seen(event) for event in result]
    return type(result), result


async def seen_async(result: Any) -> Any:
    if hasattr(result, "parse") and hasattr(result, "http_response"):
        return type(result), result.status_code, await seen_async(result.parse())
    if isinstance(result, openai.AsyncStream | anthropic.AsyncStream):
        return type(result), [seen(event) async for event in result]
    return seen(result)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_call_is_untouched_and_recorded_once(
    server: ModelServer, form: str, stream: bool, encoding: str
) -> None:
    """Sync and async: objects and requests equal the untracked client's, and the record holds what was on the wire."""
    server.encoding = encoding
    settings: Any = {"api_key": "k", "base_url": f"{server.url}/v1", "max_retries": 0}

    def http(of: Any) -> Any:
        return of(verify=CERTIFICATES)

    with openai.OpenAI(**settings, http_client=http(openai.DefaultHttpxClient)) as plain:
        untracked = seen(FORMS[form](plain, stream))
    with openai.OpenAI(**settings, http_client=http(openai.DefaultHttpxClient)) as client:
        assert tracker.track(client) is client
        assert seen(FORMS[form](tracker.track(client), stream)) == untracked

    async def asynchronously(is_tracked: bool) -> Any:
        async with openai.AsyncOpenAI(**settings, http_client=http(openai.DefaultAsyncHttpxClient)) as other:
            if is_tracked:
                tracker.track(other)
            return await seen_async(await FORMS[form](other, stream))

    assert asyncio.run(asynchronously(True)) == asyncio.run(asynchronously(False))
    assert len({asked["bytes"] for asked in server.asked}) == 1
    calls = recorded(server)
    assert len(calls) == 2
    for call in calls:
        assert json.loads(call["attributes"][schema.REQUEST_BODY]) == server.asked[0]["body"]
        assert TEXT in call["attributes"][schema.RESPONSE_BODY]
        assert schema.RESPONSE_PARTIAL not in call["attributes"]
        assert "status" not in call


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_anthropics_client(server: ModelServer, stream: bool) -> None:
    """Another library on the same transport."""
    client = tracker.track(anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0))

    result = client.messages.create(model="m", max_tokens=9, messages=MESSAGES, stream=stream)

    assert TEXT in json.dumps(seen(result)[1], default=str, ensure_ascii=False) or stream
    (call,) = recorded(server)
    answer = json.loads(call["attributes"][schema.RESPONSE_BODY])
    assert answer["content"] == [{"type": "text", "text": TEXT}]
    assert answer["stop_reason"] == "end_turn"


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
def test_a_bare_client_and_its_proxies(server: ModelServer, library: Any) -> None:
    """Mounted transports, which proxies are, are listened to as well; what asks no model is left alone."""
    mounts = {"all://127.0.0.1": library.HTTPTransport()}
    with tracker.track(library.Client(mounts=mounts)) as client:
        client.post(f"{server.url}/v1/chat/completions", json={"model": "m", "messages": MESSAGES})
        client.post(f"{server.url}/v1/other", json={"model": "m"})

    (call,) = recorded(server)
    assert call["attributes"]["url.path"] == "/v1/chat/completions"


def openai_of(server: ModelServer, *, is_async: bool, is_tracked: bool, proxy: str | None = None) -> Any:
    """Return a client that tries once more, tracked or not."""
    kind: Any = openai.AsyncOpenAI if is_async else openai.OpenAI
    http: Any = openai.DefaultAsyncHttpxClient if is_async else openai.DefaultHttpxClient
    base = "http://model.example/v1" if proxy else f"{server.url}/v1"
    client = kind(api_key="k", base_url=base, max_retries=1, http_client=http(verify=CERTIFICATES, proxy=proxy))
    return tracker.track(client) if is_tracked else client


def events_of(result: Any) -> Any:
    """Return the stream in an answer."""
    return result.parse() if hasattr(result, "http_response") else result


STREAMED = [form for form in FORMS if form not in {"post", "parse"}]


@pytest.mark.parametrize("how", ["break", "exception", "forgotten"])
@pytest.mark.parametrize("form", STREAMED)
def test_a_stream_that_is_left_is_one_record(server: ModelServer, form: str, how: str) -> None:
    """In mid-stream, by every form; what came until then is what the untracked client sees."""

    def leave(client: Any) -> Any:
        stream = events_of(FORMS[form](client, True))
        if how == "forgotten":
            return seen(next(iter(stream)))
        if how == "break":
            for event in stream:
                first = seen(event)
                break
            return first
        first = None
        with contextlib.suppress(ZeroDivisionError), stream:
            first = seen(next(iter(stream)))
            _ = 1 / 0
        return first

    plain = leave(openai_of(server, is_async=False, is_tracked=False))
    assert leave(openai_of(server, is_async=False, is_tracked=True)) == plain
    gc.collect()

    (call,) = recorded(server)
    assert json.loads(call["attributes"][schema.REQUEST_BODY]) == server.asked[1]["body"]


@pytest.mark.parametrize("how", ["break", "exception", "forgotten", "cancelled"])
@pytest.mark.parametrize("form", STREAMED)
def test_an_asynchronous_stream_that_is_left_is_one_record(server: ModelServer, form: str, how: str) -> None:
    """A task that is cancelled in mid-stream neither hangs nor loses the call."""

    async def read(client: Any, began: asyncio.Event, firsts: list[Any]) -> None:
        stream = events_of(await FORMS[form](client, True))
        if how == "exception":
            async with stream:
                firsts.append(seen(await anext(aiter(stream))))
                _ = 1 / 0
        async for event in stream:
            firsts.append(seen(event))
            began.set()
            if how == "cancelled":
                await asyncio.sleep(60)
            break

    async def leave(*, is_tracked: bool) -> list[Any]:
        firsts: list[Any] = []
        began = asyncio.Event()
        async with openai_of(server, is_async=True, is_tracked=is_tracked) as client:
            task = asyncio.create_task(read(client, began, firsts))
            if how == "cancelled":
                await began.wait()
                task.cancel()
            (error,) = await asyncio.gather(task, return_exceptions=True)
            wanted = {"cancelled": asyncio.CancelledError, "exception": ZeroDivisionError}.get(how, type(None))
            assert type(error) is wanted
            if how == "forgotten":
                del task, error
                gc.collect()
                await asyncio.sleep(0)
        return firsts

    assert asyncio.run(leave(is_tracked=True)) == asyncio.run(leave(is_tracked=False)) != []

    (call,) = recorded(server)
    assert json.loads(call["attributes"][schema.REQUEST_BODY]) == server.asked[0]["body"]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("form", FORMS)
def test_retries_are_calls_of_their_own_with_their_errors(
    server: ModelServer, form: str, stream: bool, is_async: bool
) -> None:
    """The client's own retry sends again: the failed attempt says so, the good one holds the answer."""
    untracked, tracked = (
        answered(server, form, stream=stream, is_async=is_async, is_tracked=one, failures=1) for one in (False, True)
    )

    assert tracked == untracked
    assert len(server.asked) == 4
    failed, good = recorded(server)
    assert failed["attributes"]["error.type"] == "500"
    assert "error.type" not in good["attributes"]
    assert TEXT in good["attributes"][schema.RESPONSE_BODY]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("form", FORMS)
def test_calls_through_a_proxy_are_seen(server: ModelServer, form: str, stream: bool, is_async: bool) -> None:
    """The server stands for the proxy, which is asked by whole addresses; what is recorded does not go through it."""
    untracked, tracked = (
        answered(server, form, stream=stream, is_async=is_async, is_tracked=one, proxy=server.url)
        for one in (False, True)
    )

    assert tracked == untracked
    assert {asked["path"][:21] for asked in server.asked} == {"http://model.example/"}
    (call,) = recorded(server)
    assert call["attributes"]["server.address"] == "model.example"
    assert TEXT in call["attributes"][schema.RESPONSE_BODY]


def answered(
    server: ModelServer,
    form: str,
    *,
    stream: bool,
    is_async: bool,
    is_tracked: bool,
    failures: int = 0,
    proxy: str | None = None,
) -> Any:
    """Return what a caller sees of one call."""
    server.failures = failures
    client = openai_of(server, is_async=is_async, is_tracked=is_tracked, proxy=proxy)
    if not is_async:
        with client:
            return seen(FORMS[form](client, stream))

    async def ask() -> Any:
        async with client:
            return await seen_async(await FORMS[form](client, stream))

    return asyncio.run(ask())


IN_MID_STREAM = """
import gc, os, sys
import openai
from otel_exporter import tracker

client = tracker.track(openai.OpenAI(api_key="k", base_url=sys.argv[1] + "/v1"))
ask = lambda said: client.chat.completions.create(model=said, messages=[{"role": "user", "content": "x"}], stream=True)
stream = ask("begun before")
events = iter(stream)
next(events)
child = os.fork()
if child:
    list(events)
    assert os.waitpid(child, 0)[1] == 0
else:
    del events, stream  # the parent reads it
    gc.collect()
    list(ask("of the child"))
"""


def test_a_fork_in_mid_stream_is_one_record(server: ModelServer) -> None:
    """Whoever asked records the call; the child, which forgets the stream, records its own."""
    environment = {**os.environ, "SPANLOOP_EXPORTER_OTLP_ENDPOINT": server.url, "PYTHONPATH": str(ROOT)}

    subprocess.run([sys.executable, "-c", IN_MID_STREAM, server.url], check=True, timeout=60, env=environment)

    calls = {span["attributes"]["gen_ai.request.model"]: span["attributes"] for span in server.spans()}
    assert sorted(calls) == ["begun before", "of the child"]
    assert len(server.spans()) == 2
    assert all(TEXT in call[schema.RESPONSE_BODY] for call in calls.values())


def test_a_server_that_is_not_there(server: ModelServer) -> None:
    """The library's own exception reaches the agent; the record names it."""
    client = tracker.track(openai.OpenAI(api_key="k", base_url="http://127.0.0.1:9/v1", max_retries=0))

    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="m", messages=MESSAGES)

    (call,) = recorded(server)
    assert call["attributes"]["error.type"] == "ConnectError"


def test_episodes_agents_tools_and_rewards(server: ModelServer) -> None:
    """One trace: the episode's root with its reward, the agent, its call, and the tool that the call asked for."""
    client = tracker.track(openai.OpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0))

    @tracker.tool
    def add(a: int, b: int = 2) -> int:
        return a + b

    @tracker.tool(name="broken")
    def fails() -> None:
        raise KeyError("no")

    @tracker.agent("solver")
    def solve() -> int:
        client.chat.completions.create(model="m", messages=MESSAGES)
        return add(1, b=3)

    with tracker.episode("e1", task="t1", split="heldout", customer="c"):
        assert solve() == 4
        with pytest.raises(KeyError):
            fails()
        assert tracker.annotate(difficulty=3)
        assert tracker.reward(1, explanation="right")
        assert not tracker.reward(float("nan"))
    assert tracker.reward(0.5, "late", response_id="chat_1")
    assert not tracker.reward(1)

    (call,) = recorded(server)
    spans = {span["name"]: span for span in server.spans()}
    root, agent, tool = spans["episode"], spans["invoke_agent solver"], spans["execute_tool add"]
    assert len({span["traceId"] for span in spans.values()}) == 1
    assert call["parentSpanId"] == tool["parentSpanId"] == agent["spanId"]
    assert agent["parentSpanId"] == root["spanId"]
    assert "parentSpanId" not in root
    assert root["attributes"] == {
        "spanloop.episode.id": "e1", "spanloop.task.id": "t1", "spanloop.split": "heldout", "customer": "c",
        "difficulty": "3",
    }  # fmt: skip
    assert tool["attributes"]["gen_ai.tool.call.arguments"] == '{"a": 1, "b": 3}'
    assert tool["attributes"]["gen_ai.tool.call.result"] == "4"
    assert spans["execute_tool broken"]["attributes"]["error.type"] == "KeyError"
    (event,) = root["events"]
    assert event["name"] == schema.EVALUATION_EVENT
    (late,) = server.logs()
    assert late["attributes"]["gen_ai.response.id"] == "chat_1"
    traceparent = {name.lower(): value for name, value in server.asked[0]["headers"].items()}["traceparent"]
    assert traceparent == f"00-{call['traceId']}-{call['spanId']}-01"


def test_asynchronous_agents_and_tools_keep_to_their_own_tasks(server: ModelServer) -> None:
    """Two episodes at once in one loop do not mix."""

    @tracker.tool
    async def wait(name: str) -> str:
        await asyncio.sleep(0)
        return name

    @tracker.episode(task="t")
    async def run(name: str) -> None:
        await asyncio.sleep(0)
        await wait(name)

    async def both() -> None:
        await asyncio.gather(run("a"), run("b"))

    asyncio.run(both())
    assert tracker.flush()

    roots = {span["spanId"]: span["traceId"] for span in server.spans() if span["name"] == "episode"}
    tools = [span for span in server.spans() if span["name"] == "execute_tool wait"]
    assert len(roots) == len(tools) == 2
    assert {roots[span["parentSpanId"]] for span in tools} == set(roots.values())


def test_beside_opentelemetry_it_joins_its_trace(server: ModelServer) -> None:
    """A call inside a span of the program is that span's child, so that both renditions of it lie in one trace."""
    client = tracker.track(openai.OpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0))

    with TracerProvider().get_tracer("program").start_as_current_span("handle") as outer:
        client.chat.completions.create(model="m", messages=MESSAGES)

    (call,) = recorded(server)
    assert call["traceId"] == f"{outer.get_span_context().trace_id:032x}"
    assert call["parentSpanId"] == f"{outer.get_span_context().span_id:016x}"


def test_a_receiver_that_is_away_costs_the_agent_nothing(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What happens meanwhile lies in the spool, and arrives when the receiver is back, from the next process."""
    settings = {"SPANLOOP_EXPORTER_OTLP_SPOOL": str(tmp_path / "spool")}
    away = Sender(settings | {"SPANLOOP_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    monkeypatch.setattr(outbox, "_shared", away)
    with tracker.episode("e1"):
        pass
    away.close()
    assert len(list((tmp_path / "spool").iterdir())) == 1

    back = Sender(settings | {"SPANLOOP_EXPORTER_OTLP_ENDPOINT": server.url})
    monkeypatch.setattr(outbox, "_shared", back)
    with tracker.episode("e2"):
        pass
    back.close()

    assert {span["attributes"]["spanloop.episode.id"] for span in server.spans()} == {"e1", "e2"}
    assert list((tmp_path / "spool").iterdir()) == []
    assert away.num_dropped == back.num_dropped == 0


def test_what_the_receiver_refuses_is_counted_and_said_once(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that is wrong drops the records; the agent's log has one line, not one a record."""
    server.export_status = 401
    sender = Sender({"SPANLOOP_EXPORTER_OTLP_ENDPOINT": server.url})
    monkeypatch.setattr(outbox, "_shared", sender)

    for _ in range(3):
        with tracker.episode():
            pass
        sender.flush()
    sender.close()

    assert sender.num_dropped == 3
    assert len([record for record in caplog.records if "401" in record.getMessage()]) == 1


@pytest.mark.parametrize(
    "setting",
    [
        {"ENDPOINT": "grpc://x"},
        {"TIMEOUT": "soon"},
        {"HEADERS": "nothing"},
        {"SPOOL": "/dev/null/x"},
        {"SPOOL_MIB": "x", "SPOOL": "y"},
    ],
)
def test_wrong_settings_leave_it_idle_with_one_warning(
    setting: dict[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The agent goes on."""
    monkeypatch.chdir(tmp_path)
    sender = Sender({f"SPANLOOP_EXPORTER_OTLP_{name}": value for name, value in setting.items()})

    sender.put("traces", 1, dict)

    assert sender.flush(1)
    assert len(caplog.records) == 1


FORKING = """
import os, sys
from otel_exporter import tracker
with tracker.episode("parent"):
    pass
tracker.flush()
child = os.fork()
with tracker.episode("child" if child == 0 else "after"):
    pass
if child:
    assert os.waitpid(child, 0)[1] == 0
assert not [name for name in sys.modules if name.startswith(("opentelemetry", "httpx"))]
"""


def test_a_forked_child_sends_its_own_and_a_program_that_ends_sends_the_rest(server: ModelServer) -> None:
    """Neither hangs, nothing is sent twice, and no third-party module was loaded."""
    environment = {**os.environ, "SPANLOOP_EXPORTER_OTLP_ENDPOINT": server.url, "PYTHONPATH": str(ROOT)}

    subprocess.run([sys.executable, "-c", FORKING], check=True, timeout=60, env=environment)

    assert sorted(span["attributes"]["spanloop.episode.id"] for span in server.spans()) == ["after", "child", "parent"]
