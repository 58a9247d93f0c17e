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
from tests.commands import spanloop
from tests.frameworks.scripted import scripted
from tests.integration.receiver.processes import running

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "start.md").read_text()


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
