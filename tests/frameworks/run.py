"""Runs the examples, each in its own environment, against the scripted server, and judges what comes of it.

`make test-frameworks` runs all and writes the coverage matrix into docs/frameworks.md.

    python -m tests.frameworks.run [--venvs DIR] [--write] [NAME …]
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from etl.runs.run import run_etl
from etl.schema import table_files
from etl.settings import EtlConfig
from foundation.report import RunReport
from receiver.intake.importing import import_files
from tests.frameworks.scripted import ANSWER, ARGUMENTS, QUESTION, RESULT, TOOL, USAGE, Truth, Turn, scripted

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGE = ROOT / "docs" / "frameworks.md"
TIMEOUT_S = 400
ASPECTS = (
    "calls", "messages", "tools", "tool call", "result", "answer", "usage", "agent", "error", "stream", "token ids",
)  # fmt: skip
"""What is looked at; `-` in the table is what the run did not have."""

Aspects = dict[str, bool | None]


@dataclass
class Outcome:
    """What came of one example."""

    name: str
    versions: str
    aspects: Aspects = field(default_factory=dict)
    said: str = ""
    """What its process complained of, where it failed."""

    @property
    def is_right(self) -> bool:
        """Whether everything that the run had is in its transitions."""
        return bool(self.aspects) and all(value is not False for value in self.aspects.values())


def names() -> list[str]:
    """Return the examples that are an unmodified agent in an environment of its own."""
    return sorted(path.parent.name for path in EXAMPLES.glob("*/environment"))


def environment_of(name: str, url: str) -> dict[str, str]:
    """Return the variables of an example, its addresses replaced by the server's."""
    pairs = (line.partition("=") for line in (EXAMPLES / name / "environment").read_text().splitlines() if "=" in line)
    place = url.removeprefix("http://")
    replaced = {"localhost:4318": place, "localhost:8000": place}
    found = {}
    for key, _, value in pairs:
        for old, new in replaced.items():
            value = value.replace(old, new)
        found[key] = value
    return found


def prepare(name: str, venvs: Path) -> Path:
    """Return the environment of an example, made where there is none."""
    venv = venvs / name
    if not (venv / "bin" / "opentelemetry-instrument").exists():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--python", "3.11", venv], check=True)
        requirements = EXAMPLES / name / "requirements.txt"
        python = venv / "bin" / "python"
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, "-r", requirements], check=True)
    return venv


def versions(name: str, venv: Path) -> str:
    """Return the versions of what an example asks for, but for OpenTelemetry's own parts."""
    program = """
import sys, importlib.metadata as m
known = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in m.distributions()}
print(", ".join(f"{n} {known[n.lower()]}" for n in sys.argv[1:] if n.lower() in known))
"""
    lines = (EXAMPLES / name / "requirements.txt").read_text().split()
    wanted = [
        re.split(r"[\[>]", line)[0]
        for line in lines
        if line not in {"opentelemetry-distro", "opentelemetry-exporter-otlp"}
    ]
    return subprocess.check_output([venv / "bin" / "python", "-c", program, *wanted], text=True).strip()


def play(name: str, venv: Path, truth: Truth) -> str:
    """Run an example to its end; return what it wrote to stderr where it failed."""
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "LANG", "TMPDIR"}}
    command = [str(venv / "bin" / one) for one in ("opentelemetry-instrument", "python")]
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [*command, "agent.py"],
            cwd=EXAMPLES / name,
            env=kept | {"HOME": home, "PYTHONDONTWRITEBYTECODE": "1"} | environment_of(name, truth.url),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    return "" if done.returncode == 0 and ANSWER in done.stdout else (done.stdout + done.stderr)[-3000:]


def publish(data: Path, truth: Truth) -> None:
    """Receive what was exported, and run the ETL."""
    exports = data / "exports"
    exports.mkdir(parents=True)
    files = []
    for number, (path, body) in enumerate(truth.exports):
        if path != "/v1/metrics":
            files.append(exports / f"{number:04d}{'.logs' if path == '/v1/logs' else ''}.pb")
            files[-1].write_bytes(body)
    if files:
        import_files(data, files)
        run_etl(EtlConfig(data=data, complete_after=0), RunReport("etl run", {}), dry_run=False)


def compare(data: Path, truth: Truth) -> Aspects:
    """Hold the published calls and transitions against what the server was asked and said."""
    happened = [turn for turn in truth.turns if not turn.failed]
    transitions, calls = _rows(data, "transitions"), _rows(data, "llm_calls")
    first = next((row for row in transitions if QUESTION in json.dumps(row, default=str)), {})
    with_tools = [turn for turn in happened if turn.calls_tool]
    last = transitions[-1] if transitions else {}
    observed = [message for row in transitions for message in json.loads(row["observation"] or "[]")]
    action = json.loads(first.get("action") or "{}")
    asked = [call for call in action.get("tool_calls") or () if call["name"].endswith(TOOL)]
    usages = [json.loads(row["usage"] or "{}") for row in calls if row["error"] is None]
    return {
        "calls": len(transitions) == len(happened),
        "messages": any(one["role"] == "user" and QUESTION in (one["text"] or "") for one in observed),
        "tools": _is_there(first.get("tools"), TOOL) if with_tools else None,
        "tool call": bool(asked) and asked[0]["arguments"] == ARGUMENTS if with_tools else None,
        "result": any(one["role"] != "assistant" and RESULT in (one["text"] or "") for one in observed)
        if with_tools
        else None,
        "answer": ANSWER in json.dumps(json.loads(last.get("action") or "{}")),
        "usage": bool(usages) and all(USAGE[0] in one.values() and USAGE[1] in one.values() for one in usages)
        if any(map(_told_usage, happened))
        else None,
        "agent": all("calculator" in (row["agent"] or "") for row in transitions) and bool(transitions)
        if "calculator" in _source(data.name)
        else None,
        "error": any(row["error"] is not None for row in calls) if any(turn.failed for turn in truth.turns) else None,
        "stream": True if any(turn.streamed for turn in happened) else None,
        "token ids": None,
    }


def _told_usage(turn: Turn) -> bool:
    """Tell whether an answer had token counts: a stream of chat completions has them where it is asked to."""
    is_chat = turn.streamed and turn.api.endswith("/completions")
    return not is_chat or bool((turn.asked.get("stream_options") or {}).get("include_usage"))


def _source(name: str) -> str:
    return "".join(path.read_text() for path in sorted((EXAMPLES / name).glob("agent.*")))


def _is_there(text: str | None, what: str) -> bool:
    return what in (text or "")


def _rows(data: Path, table: str) -> list[dict[str, Any]]:
    files = table_files(data, table)
    return pl.read_parquet(files).sort("start_ns").to_dicts() if files else []


def run_one(name: str, venvs: Path, scratch: Path) -> Outcome:
    """Run one example and judge it."""
    venv = prepare(name, venvs)
    outcome = Outcome(name, versions(name, venv))
    with scripted() as truth:
        outcome.said = play(name, venv, truth)
        data = scratch / name
        publish(data, truth)
        outcome.aspects = compare(data, truth)
    return outcome


def row(one: Outcome) -> str:
    """Return the line of one example."""
    shown = {True: "yes", False: "**no**", None: "-"}
    cells = " | ".join(shown[one.aspects.get(aspect)] for aspect in ASPECTS)
    day = datetime.now(UTC).date()
    return f"| [{one.name}](../examples/{one.name}) | {cells} | {one.versions}; {day} |"


BEGIN, END = "<!-- table: make test-frameworks -->", "<!-- end of table -->"


def write(outcomes: Iterable[Outcome]) -> None:
    """Put the lines of what ran into the page; the others' stay."""
    page = PAGE.read_text()
    head, rest = page.split(BEGIN)[0], page.split(END)[1]
    lines = {
        line.split("]")[0]: line for line in page.split(BEGIN)[1].split(END)[0].splitlines() if line.startswith("| [")
    }
    lines |= {line.split("]")[0]: line for line in map(row, outcomes)}
    table = [f"| example | {' | '.join(ASPECTS)} | with |", "|---" * (len(ASPECTS) + 2) + "|", *sorted(lines.values())]
    PAGE.write_text("\n".join([f"{head}{BEGIN}", "", *table, "", f"{END}{rest}"]))


def main() -> None:
    """Run the examples that are named, or all, and end with 1 where one is not as it should be."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--venvs", type=Path, default=ROOT / "build" / "frameworks")
    parser.add_argument("--scratch", type=Path, default=None)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.names or names():
            try:
                outcome = run_one(name, arguments.venvs.absolute(), arguments.scratch or Path(temporary))
            except (OSError, subprocess.SubprocessError) as error:
                outcome = Outcome(name, "", said=str(error))
            outcomes.append(outcome)
            wrong = [aspect for aspect, value in outcome.aspects.items() if value is False]
            sys.stdout.write(f"{name}: {'ok' if outcome.is_right else f'wrong: {wrong}'} {outcome.said}\n")
            sys.stdout.flush()
    if arguments.write:
        write(outcomes)
    sys.exit(any(not outcome.is_right for outcome in outcomes))


if __name__ == "__main__":
    main()
