"""The quickstart's programs do what it says, as they stand there: from nothing to the first transition."""

import json
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from receiver.schema import connect
from spanloop.processes import free_port
from tests.commands import spanloop
from tests.frameworks.scripted import scripted
from tests.integration.receiver.processes import running

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "start.md").read_text()
EXAMPLE = ROOT / "examples" / "langgraph"


def block(heading: str, language: str) -> str:
    """Return the program under a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.long
@pytest.mark.parametrize(
    ("heading", "port", "agent", "outcome"),
    [
        ("You use a hosted model and OpenTelemetry", "grpc", "guide", None),
        ("You have no OpenTelemetry", "http", None, 1.0),
    ],
)
def test_a_program_of_the_quickstart_becomes_a_transition(
    heading: str, port: str, agent: str | None, outcome: float | None, tmp_path: Path
) -> None:
    """In at most ten lines, against a scripted endpoint in the place of the hosted one."""
    program = block(heading, "python")
    assert len(program.splitlines()) <= 10
    data = tmp_path / "traces"
    with scripted() as model, running(data) as receiver:
        endpoint = getattr(receiver, port)
        subprocess.run(
            [sys.executable, "-c", program],
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "SPANLOOP_"))},
                "OPENAI_BASE_URL": f"{model.url}/v1",
                "OPENAI_API_KEY": "none",
                "SPANLOOP_EXPORTER_OTLP_ENDPOINT": endpoint if "//" in endpoint else f"http://{endpoint}",
            },
            check=True,
            timeout=120,
        )
    assert spanloop("etl", "run", "--data", data, "--complete-after", "0").returncode == 0

    with closing(connect(data)) as reader:
        [row] = reader.query("select agent, action, outcome from transitions").to_pylist()
    assert (row["agent"], row["outcome"]) == (agent, outcome)
    assert json.loads(row["action"])["text"] == "The answer is 391."


STAND_IN = """
from agents import Agent, Runner, set_default_openai_api
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

set_default_openai_api("chat_completions")
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
Runner.run_sync(Agent(name="calculator", model="scripted-1"), "What is 17 times 23?")
"""


def stand_in(folder: Path) -> Path:
    """Return an environment whose `python agent.py` is an agent of another framework, which this one has."""
    (folder / "bin").mkdir(parents=True)
    (folder / "agent.py").write_text(STAND_IN)
    for name, command in {
        "opentelemetry-instrument": '"$@"',
        "python": f'{sys.executable} "{folder}/agent.py"',
    }.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\nexec {command}\n")
        (folder / "bin" / name).chmod(0o755)
    return folder


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("framework", ["stand-in", "langgraph"])
def test_the_first_reader_gets_exact_transitions(framework: str, tmp_path: Path) -> None:
    """Each line as it stands there, in at most ten; a small model on the embedded engine stands for Qwen3 on vLLM.

    LangGraph's environment is that of `make test-frameworks`; elsewhere an agent of OpenAI's Agents SDK stands for it.
    The ports are free ones, and nothing is downloaded.
    """
    agent = ROOT / "build" / "frameworks" / "langgraph" if framework == "langgraph" else stand_in(tmp_path / "agent")
    if not agent.exists():
        pytest.skip("make test-frameworks FRAMEWORKS=langgraph makes the agent's environment; it needs a package index")
    said = PAGE.split("\n## ")[0] + block("You serve your own model and use LangGraph", "console")
    lines = [line for line in re.findall(r"^\$ (.*)$", said, re.MULTILINE) if not line.startswith(("make ", "hf "))]
    assert len(lines) <= 10
    grpc, http, gateway = (free_port() for _ in range(3))
    ports = f"s/:8000/:{gateway}/; s/:4318/:{http}/"
    asked = "\n".join(lines)
    for written, here in {
        "receiver run": f"receiver run --grpc 127.0.0.1:{grpc} --http 127.0.0.1:{http}",
        "serve run": f"serve run --engine embedded --listen 127.0.0.1:{gateway} --otlp-endpoint http://127.0.0.1:{grpc}",
        "Qwen/Qwen3-8B": str(ROOT / "examples" / "calculator" / "policy"),
        "localhost:8000": f"localhost:{gateway}",
        "python -m venv build/agent && build/agent/bin/pip install -r examples/langgraph/requirements.txt": "true",
        "xargs < examples/langgraph/environment": f"sed '{ports}' {EXAMPLE}/environment | xargs",
        "build/agent": str(agent),
        "examples/langgraph/agent.py": str(EXAMPLE / "agent.py"),
    }.items():
        assert written in asked, f"the page no longer says {written}"
        asked = asked.replace(written, here)
    folder = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", f"trap 'kill $(jobs -p); wait' EXIT\nset -e\n{asked}"],
        cwd=tmp_path, env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "SPANLOOP_SQL_FORMAT": "json"},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(done.stdout[done.stdout.index("[{") :])
    assert {row["evidence"] for row in rows} == {"A"}
    assert {row["agent"] for row in rows} == {"calculator"}


def test_each_command_of_the_quickstart_is_one_that_there_is() -> None:
    """With the options it has."""
    commands = re.findall(r"^\$ spanloop ([^\n#]*?)(?: &)?(?:\s+#.*)?$", PAGE, re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        words = command.split(' "')[0].split()
        name = [word for word in words if not word.startswith("-")][: 1 if words[0] in {"sql", "doctor"} else 2]
        told = spanloop(*name, "--help")
        assert told.returncode == 0
        assert [word for word in words if word.startswith("--") and word not in told.stdout] == []
