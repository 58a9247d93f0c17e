"""What the tracker sends becomes the transitions that OpenTelemetry's path gives, and beside it one call, not two."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from agents import Agent, OpenAIChatCompletionsModel, Runner
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_exporter import schema, tracker
from otel_exporter.sending.sender import Sender
from otel_exporter.tracking import outbox
from tests.commands import spanloop
from tests.model_server import TEXT, ModelServer, model_server

pytestmark = pytest.mark.integration

SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    with model_server() as one:
        sender = Sender({"SPANLOOP_EXPORTER_OTLP_ENDPOINT": one.url})
        monkeypatch.setattr(outbox, "_shared", sender)
        yield one
        sender.close()


def rows(directory: Path, server: ModelServer, *others: bytes, what: str = "transitions") -> list[dict[str, Any]]:
    """Return what the ETL makes of everything the tracker exported, and of other requests."""
    assert tracker.flush()
    for place, (path, request) in enumerate(server.exports):
        kind = ".logs" if path == "/v1/logs" else ""
        (directory / f"{place}{kind}.json").write_text(json.dumps(request))
    for place, body in enumerate(others):
        (directory / f"other{place}.pb").write_bytes(body)
    data = directory / "data"
    files = [path for path in sorted(directory.iterdir()) if path.is_file()]
    for command in (["receiver", "import", *files], ["etl", "run", "--complete-after", "0"]):
        result = spanloop(*command, "--data", data)
        assert result.returncode == 0, result.stderr
    exported = spanloop("etl", "export", "--data", data, "--what", what)
    return [json.loads(line) for line in exported.stdout.splitlines()]


FORMS: dict[str, Callable[[Any, Any], Any]] = {
    "chat": lambda o, _: o.chat.completions.create(model="m", messages=[SYSTEM, USER]),
    "chat streamed": lambda o, _: list(o.chat.completions.create(model="m", messages=[SYSTEM, USER], stream=True)),
    "responses": lambda o, _: o.responses.create(model="m", instructions=SYSTEM["content"], input="hi"),
    "responses streamed": lambda o, _: list(o.responses.create(model="m", input=[SYSTEM, USER], stream=True)),
    "messages": lambda _, a: a.messages.create(model="m", max_tokens=9, system=SYSTEM["content"], messages=[USER]),
    "messages streamed": lambda _, a: list(
        a.messages.create(model="m", max_tokens=9, system=SYSTEM["content"], messages=[USER], stream=True)
    ),
}


def test_every_api_becomes_the_same_transition(server: ModelServer, tmp_path: Path) -> None:
    """System text, question, answer, agent, task and reward, whichever API was asked and however it answered."""
    clients = (
        tracker.track(openai.OpenAI(api_key="k", base_url=f"{server.url}/v1")),
        tracker.track(anthropic.Anthropic(api_key="k", base_url=server.url)),
    )
    for name, ask in FORMS.items():
        with tracker.episode(name, task="greet"), tracker.agent("greeter"):
            ask(*clients)
            tracker.reward(1)

    found = {row["episode_id"]: row for row in rows(tmp_path, server)}

    assert set(found) == set(FORMS)
    for row in found.values():
        assert [(message["role"], message["text"]) for message in row["observation"]] == [
            ("system", "Be brief."),
            ("user", "hi"),
        ]
        assert row["action"]["text"] == TEXT
        assert (row["agent"], row["task_id"], row["outcome"]) == ("greeter", "greet", 1.0)


def test_an_answer_the_agent_did_not_read_to_its_end_is_no_transition(server: ModelServer, tmp_path: Path) -> None:
    """Nobody knows what the policy would have said; the row is rejected with its reason."""
    client = tracker.track(openai.OpenAI(api_key="k", base_url=f"{server.url}/v1"))
    with tracker.episode("e"):
        client.chat.completions.create(model="m", messages=[USER])
    assert tracker.flush()
    for _, request in server.exports:
        for span in request["resourceSpans"][0]["scopeSpans"][0]["spans"]:
            if span["name"].startswith("chat"):
                span["attributes"].append({"key": schema.RESPONSE_PARTIAL, "value": {"boolValue": True}})

    assert rows(tmp_path, server) == []


def test_beside_an_instrumentation_there_is_one_call(server: ModelServer, tmp_path: Path) -> None:
    """An agent that is instrumented and tracked leaves two renditions of each call in one trace."""
    provider, memory = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    instrumentor = OpenAIAgentsInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:

        async def main() -> None:
            async with tracker.track(openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1")) as client:
                model = OpenAIChatCompletionsModel(model="m", openai_client=client)
                agent = Agent(name="greeter", instructions="Be brief.", model=model)
                with provider.get_tracer("program").start_as_current_span("handle"):
                    await Runner.run(agent, "hi")

        asyncio.run(main())
    finally:
        instrumentor.uninstrument()

    (row,) = rows(tmp_path, server, encode_spans(memory.get_finished_spans()).SerializeToString())

    assert row["action"]["text"] == TEXT
    assert row["agent"] == "greeter"
