"""The three benchmarks through the whole loop, with a model that knows nothing of them: plumbing, not learning."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from etl.schema import table_files
from examples.demonstrations import receiving
from examples.spider.questions import load
from examples.spider.teacher import teacher
from examples.teacher import Reply, serving
from foundation.errors import ExitStatus

pytestmark = [pytest.mark.integration, pytest.mark.long]

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests" / "fixtures" / "tasks"
POLICY = ROOT / "examples" / "calculator" / "policy"

AGENTS = {"spider": {"write"}, "musique": {"researcher"}, "calcx": {"calc"}}


def environment(task: str) -> Path:
    python = ROOT / "build" / "tasks" / task / "bin" / "python"
    if not python.exists():
        pytest.skip(f"make setup-tasks makes the environment of {task}; it needs a package index")
    return python


def run(task: str, data: Path, *flags: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "spanloop", "demo", "--task", task, "--no-warm", "--model", str(POLICY), "--json"]
    command += ["--datasets", str(FIXTURES), "--engine", "embedded", "--data", str(data), "--heldout", "8", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout, done.stderr[-3000:]
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize("task", AGENTS)
def test_a_benchmark_goes_through_the_loop_and_goes_on_where_it_was(task: str, tmp_path: Path) -> None:
    """All spans arrive, every call is an exact transition of its agent, and a second run measures nothing again."""
    environment(task)
    flags = ("--nights", "1", "--problems", "8", "--attempts", "4")

    status, report, said = run(task, tmp_path / "data", *flags)

    assert status == ExitStatus.REFUSED, said[-3000:]
    (window,) = report["windows"]
    assert window["episodes"] == 32
    assert window["spans_lost"] == 0
    assert report["heldout"]["sampled"]["attempts"] == 16
    rows = pl.read_parquet(table_files(tmp_path / "data", "transitions"))
    assert set(rows["agent"]) == AGENTS[task]
    assert set(rows["evidence"]) == {"A"}
    assert rows["episode_id"].n_unique() >= 32 + 16
    assert set(rows["split"]) == {"train", "heldout"}

    again, repeated, _ = run(task, tmp_path / "data", *flags)

    assert again == ExitStatus.REFUSED
    assert repeated["heldout"] == report["heldout"]
    assert repeated["windows"] == report["windows"]
    assert repeated["transitions"] == report["transitions"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("task", AGENTS)
def test_a_warm_start_trains_on_the_gold_through_the_loop(task: str, tmp_path: Path) -> None:
    """The agent demonstrates, its spans become transitions, and a model of its own comes of them; made once."""
    out = tmp_path / "warm"
    command = [sys.executable, "-m", f"examples.{task}.warm_start", "--python", environment(task), "--episodes", "40"]
    command += ["--datasets", FIXTURES, "--model", POLICY, "--out", out]

    for _ in range(2):
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr[-3000:]

    assert json.loads((out / "manifest.json").read_text())["metrics"]
    assert "demonstrations" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["warm"]


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [(("--datasets", "nowhere"), "docs/tasks.md"), (("--model", "nowhere"), "make model")],
)
def test_what_is_missing_is_named_with_the_command_that_makes_it(
    flags: tuple[str, ...], wanted: str, tmp_path: Path
) -> None:
    """Status 2, before anything is started."""
    command = [sys.executable, "-m", "spanloop", "demo", "--task", "spider"]
    if "--datasets" not in flags:
        command += ["--datasets", str(FIXTURES)]

    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert done.returncode == ExitStatus.SETTINGS
    assert wanted in done.stderr
    assert list(tmp_path.iterdir()) == []


USED = {"musique": "searches", "calcx": "called"}
"""What a task reports of its tool."""

SERVERS = {"musique": "examples.musique.retrieval", "calcx": "examples.calcx.calculator"}


def children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(one) for thread in threads for one in thread.read_text().split()]
    return found + [below for one in found for below in children(one)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("task", SERVERS)
def test_a_tool_server_that_dies_costs_the_attempts_under_way_and_no_more(task: str, tmp_path: Path) -> None:
    """Nothing ends; the next order finds a new server."""
    questions = import_module(f"examples.{task}.questions").load(FIXTURES, "train")
    gold = import_module(f"examples.{task}.teacher").teacher(questions)
    killed: list[int] = []

    def reply(messages: list[dict[str, Any]]) -> dict[str, Any]:
        if not killed:
            pids = [pid for pid in children(process.pid) if SERVERS[task] in Path(f"/proc/{pid}/cmdline").read_text()]
            killed.extend(pids)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        return dict(gold(messages))

    command = [str(environment(task)), "-m", f"examples.{task}.collect", "--datasets", str(FIXTURES), "--orders"]
    command += ["--concurrency", "1", "--timeout-s", "20"]
    with serving(reply) as url:
        told = {
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": "none",
            "OTEL_TRACES_EXPORTER": "none",
            "PYTHONPATH": str(ROOT),
        }
        told["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"  # nobody listens: agents take no harm from that
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": sys.stderr}
        with subprocess.Popen(command, env=os.environ | told, cwd=ROOT, text=True, **pipes) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            summaries = []
            for number in range(2):
                process.stdin.write(json.dumps({"episodes": 3, "output": str(tmp_path / f"{number}.jsonl")}) + "\n")
                process.stdin.flush()
                summaries.append(json.loads(process.stdout.readline()))
            process.kill()

    assert killed
    assert [summary["episodes"] for summary in summaries] == [3, 3]
    assert [summary["ungraded"] for summary in summaries] == [0, 0]
    assert summaries[0][USED[task]] < summaries[1][USED[task]]


def wrong_then_right(questions: Sequence[Any]) -> Reply:
    """Write a query of nothing, find it incorrect, write the gold one, find it correct."""
    gold = teacher(questions)

    def reply(messages: list[dict[str, Any]]) -> dict[str, Any]:
        instructions, text = (str(message["content"]) for message in messages)
        if "THE QUERY IS" in instructions:
            return {"content": f"THE QUERY IS {'IN' if 'Query: SELECT 0' in text else ''}CORRECT."}
        if "better" in instructions:
            asked = text[: text.index("\nQuery: ")]
            return {"content": f"```sql\n{gold([messages[0], {'role': 'user', 'content': asked}])['content']}\n```"}
        return {"content": "SELECT 0"}

    return reply


@pytest.mark.timeout(300)
def test_three_agents_are_told_apart_and_two_of_them_are_trained(tmp_path: Path) -> None:
    """They share a trace; the checker's calls are context, and the outcome is of the last query."""
    questions = load(FIXTURES, "train")
    command = [str(environment("spider")), "-m", "examples.spider.collect", "--datasets", str(FIXTURES)]
    command += ["--output", str(tmp_path / "rows.jsonl")]
    with receiving(tmp_path / "data") as endpoint, serving(wrong_then_right(questions)) as url:
        told = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        told |= {"PYTHONPATH": str(ROOT)}
        subprocess.run(command, env=os.environ | told, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    etl = [sys.executable, "-m", "spanloop", "etl", "run", "--data", str(tmp_path / "data"), "--complete-after", "0"]
    subprocess.run(etl, check=True, capture_output=True)
    train = [sys.executable, "-m", "spanloop", "train", "run", "--data", str(tmp_path / "data"), "--model", str(POLICY)]
    train += ["--agents", "write,rewrite", "--recipe", "imitate", "--min-episodes", "8", "--dry-run", "--json"]
    planned = json.loads(subprocess.run(train, check=True, capture_output=True).stdout)

    attempts = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {(row["reward"], row["measures"]["turns"]) for row in attempts} == {(1.0, 2)}
    rows = pl.read_parquet(table_files(tmp_path / "data", "transitions")).sort("episode_id", "step")
    assert {tuple(agents) for agents in rows.group_by("episode_id", maintain_order=True).agg("agent")["agent"]} == {
        ("write", "check", "rewrite", "check")
    }
    assert set(rows["outcome"]) == {1.0}
    assert planned["set_aside"] == {"other_agent": 2 * len(attempts)}
