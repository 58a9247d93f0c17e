"""Real clients, tracked and not: what they hand back is the same, and every call is recorded once."""

import asyncio
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


def test_a_stream_left_early_or_forgotten_is_one_record_with_what_came(server: ModelServer) -> None:
    """`break`, an exception in the loop, and an iterator that is dropped."""
    client = tracker.track(openai.OpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0))

    def ask() -> Any:
        return client.chat.completions.create(model="m", messages=MESSAGES, stream=True)

    for _ in ask():
        break
    with pytest.raises(ZeroDivisionError), ask() as stream:
        next(iter(stream)) and 1 / 0
    iter(ask())
    del stream
    gc.collect()

    assert len(recorded(server)) == 3


def test_a_cancelled_call_is_recorded(server: ModelServer) -> None:
    """Cancelling a task in mid-stream neither hangs nor loses the call."""

    async def main() -> None:
        async with tracker.track(openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1")) as client:
            began = asyncio.Event()

            async def read() -> None:
                async for _ in await client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
                    began.set()
                    await asyncio.sleep(60)

            task = asyncio.create_task(read())
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())

    assert len(recorded(server)) == 1


def test_retries_are_calls_of_their_own_with_their_errors(server: ModelServer) -> None:
    """The client's own retry sends again: the failed attempt says so, the good one holds the answer."""
    server.failures = 1
    client = tracker.track(openai.OpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=1))

    client.chat.completions.create(model="m", messages=MESSAGES)

    failed, good = recorded(server)
    assert failed["attributes"]["error.type"] == "500"
    assert "error.type" not in good["attributes"]


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
