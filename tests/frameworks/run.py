"""Runs the examples, each in its own environment, against the scripted server, and judges what comes of it.

`make test-frameworks` runs all and writes the coverage matrix into docs/frameworks.md.

    python -m tests.frameworks.run [--environments DIR] [--write] [NAME …]
"""

import argparse
import json
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
from tests.frameworks.endpoint import gateway
from tests.frameworks.environments import EXAMPLES, ROOT, Environment, names, prepare, variables
from tests.frameworks.scripted import ANSWER, ARGUMENTS, QUESTION, RESULT, TOKENS, TOOL, USAGE, Truth, Turn, scripted

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
        """Whether what the run had is in its transitions, but for what its producer is known not to write."""
        return bool(self.aspects) and self.wrong == lacks(self.name)

    @property
    def wrong(self) -> set[str]:
        """What the run had and its transitions have not."""
        return {aspect for aspect, value in self.aspects.items() if value is False}


def lacks(name: str) -> set[str]:
    """Return what is known not to be in the spans of an example's producer: where it is, the line says so as well."""
    file = EXAMPLES / name / "lacks"
    return set(file.read_text().split("\n")) - {""} if file.exists() else set()


def play(name: str, environment: Environment, truth: Truth, model: str | None = None) -> str:
    """Run an example to its end, its model at an address, else the server's; return what it wrote where it failed."""
    with tempfile.TemporaryDirectory() as home:
        told = {"HOME": home, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            environment.command,
            cwd=environment.folder,
            env=told | variables(name, truth.url, model or truth.url),
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
        "stream": True if any(turn.streamed for turn in happened) else None,
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


def records_errors(name: str, environment: Environment, data: Path) -> bool:
    """Tell whether calls that were refused are known as such, and none of them is something to learn from."""
    with scripted() as truth:
        truth.refuses = True
        play(name, environment, truth)
        publish(data, truth)
    calls = _rows(data, "llm_calls")
    return bool(calls) and all(row["error"] is not None for row in calls) and not _rows(data, "transitions")


def joins_tokens(name: str, environment: Environment, data: Path, model: str) -> bool:
    """Tell whether each call has the token ids that the gateway recorded, under the agent's own span."""
    with scripted() as truth:
        with gateway(model, truth) as url:
            said = play(name, environment, truth, url)
        publish(data, truth)
    rows = _rows(data, "transitions")
    return not said and len(rows) == len(truth.turns) and all(row["response_token_ids"] == TOKENS[1] for row in rows)


def run_one(name: str, environments: Path, scratch: Path) -> Outcome:
    """Run one example as it is, refused, and through the gateway where that speaks its API; and judge it."""
    environment = prepare(name, environments)
    outcome = Outcome(name, environment.versions)
    with scripted() as truth:
        outcome.said = play(name, environment, truth)
        data = scratch / name
        publish(data, truth)
        outcome.aspects = compare(data, truth)
    outcome.aspects["error"] = records_errors(name, environment, scratch / f"{name}-refused")
    model = truth.turns[0].asked.get("model") if truth.turns else None
    is_open = "OPENAI_BASE_URL" in (EXAMPLES / name / "environment").read_text()
    outcome.aspects["token ids"] = (
        joins_tokens(name, environment, scratch / f"{name}-gateway", model) if is_open and model else None
    )
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
    parser.add_argument("--environments", type=Path, default=ROOT / "build" / "frameworks")
    parser.add_argument("--scratch", type=Path, default=None)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.names or names():
            try:
                outcome = run_one(name, arguments.environments.absolute(), arguments.scratch or Path(temporary))
            except (OSError, subprocess.SubprocessError) as error:
                outcome = Outcome(name, "", said=str(error))
            outcomes.append(outcome)
            verdict = "ok" if outcome.is_right else f"wrong: {sorted(outcome.wrong)}"
            sys.stdout.write(f"{name}: {verdict} {outcome.said}\n")
            sys.stdout.flush()
    if arguments.write:
        write(outcomes)
    sys.exit(any(not outcome.is_right for outcome in outcomes))


if __name__ == "__main__":
    main()
