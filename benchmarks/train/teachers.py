"""A hosted teacher and its agents: scripted answers behind a URL, OpenAI's client, spans of three instrumentations.

The instrumentations are the libraries themselves, in an environment of their own below build/, made from a package
index where it is not there: their pins are not ours.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.train.nights import EXAMPLE
from examples.teacher import Message, calling, serving

from episode import INSTRUCTIONS, MAX_TURNS, TOOLS  # isort: skip - the example is a directory of scripts
from problems import Problem, generate  # isort: skip

from etl.schema import table_files
from spanloop.processes import free_port, running_server, spanloop_command

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "teachers.txt"
ENVIRONMENT = EXAMPLE.parents[1] / "build" / "teachers"

INSTRUMENTATIONS = ("openinference", "genai", "traceloop")
"""OpenInference's, OpenTelemetry's for GenAI, and Traceloop's, each of OpenAI's client."""

CONTENT = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only", "TRACELOOP_TELEMETRY": "false"}
"""OpenTelemetry's records no messages unless it is told to."""

MODEL = "scripted-teacher"

ERRORS = 0.1
"""Of the teacher's calculations, share that takes a wrong sign."""

SWAPPED = str.maketrans("+-*", "-*+")


def environment() -> Path:
    """Return the interpreter that has the instrumentations, made where it is not there or no longer fits."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    python, mark = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "requirements.sha256"
    if not (python.exists() and mark.exists() and mark.read_text() == wanted):
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT)], check=True)
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(REQUIREMENTS)], check=True)
        mark.write_text(wanted)
    return python


@dataclass
class Logged:
    """What the agents did, as the teacher's own server saw it."""

    written_by: dict[str, str] = field(default_factory=dict)
    """Instrumentation, by the text of the problem."""

    asked: Counter[str] = field(default_factory=Counter)
    """Every call, with its answer, in one canonical form."""

    reward: float = 0.0

    def instrumentation_of(self, messages: list[Message]) -> str:
        """Return who wrote the spans of a conversation."""
        user = next(message for message in messages if message["role"] == "user")
        return self.written_by[user.get("text") or user["content"]]


def collect(data: Path, *, num_problems: int, seed: int) -> Logged:
    """Have the teacher's agents work, a third under each instrumentation, and their spans received."""
    python = environment()
    num_heldout = num_problems // 5
    problems = generate(num_problems - num_heldout, split="train", seed=seed)
    problems += generate(num_heldout, split="heldout", seed=seed)
    logged, guard = Logged(), threading.Lock()
    by_text = {problem.text: problem for problem in problems}
    for number, problem in enumerate(problems):
        logged.written_by[problem.text] = INSTRUMENTATIONS[number % len(INSTRUMENTATIONS)]
    answer = teacher(by_text)

    def reply(messages: list[Message]) -> Message:
        said = answer(messages)
        with guard:
            logged.asked[canonical([*messages, {"role": "assistant", **said}])] += 1
        return said

    grpc, http = free_port(), free_port()
    receiver = spanloop_command(
        *("receiver", "run", "--data", str(data), "--grpc", f"127.0.0.1:{grpc}", "--http", f"127.0.0.1:{http}")
    )
    with (
        running_server(
            "receiver",
            receiver,
            ready_url=f"http://127.0.0.1:{http}/readyz",
            log=data.parent / "receiver.log",
            timeout_s=600,
        ),
        serving(reply) as url,
    ):

        def work(name: str) -> list[float]:
            jobs = [
                {"text": each.text, "task_id": each.task_id, "split": each.split, "answer": each.answer}
                for each in problems
                if logged.written_by[each.text] == name
            ]
            told = {"jobs": jobs, "tools": TOOLS, "system": INSTRUCTIONS, "turns": MAX_TURNS, "model": MODEL}
            command = [str(python), str(HERE / "teacher_agent.py"), name, url, f"http://127.0.0.1:{http}"]
            kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON"))}
            done = subprocess.run(
                command, input=json.dumps(told), env=kept | CONTENT, stdout=subprocess.PIPE, text=True, check=True
            )
            return list(json.loads(done.stdout))

        with ThreadPoolExecutor(len(INSTRUMENTATIONS)) as pool:
            rewards = [each for found in pool.map(work, INSTRUMENTATIONS) for each in found]
    logged.reward = sum(rewards) / len(rewards)
    return logged


def teacher(problems: dict[str, Problem]) -> Callable[[list[Message]], Message]:
    """Return a teacher that calculates, then says what came out."""

    def answer(messages: list[Message]) -> Message:
        if messages[-1]["role"] == "tool":
            return {"content": f"The answer is {messages[-1]['content']}."}
        problem = problems[messages[-1]["content"]]
        draw = random.Random(problem.text)
        expression = problem.expression.translate(SWAPPED) if draw.random() < ERRORS else problem.expression
        return calling("calculator", {"expression": expression}, number=draw.randrange(10**9))

    return answer


def canonical(messages: list[Message]) -> str:
    """Return a conversation in one form, whether it is of OpenAI's API or of the dataset."""
    return json.dumps([_said(message) for message in messages])


def _said(message: Message) -> list[Any]:
    calls = []
    for call in message.get("tool_calls") or ():
        function = call.get("function") or call
        arguments = function["arguments"]
        told = json.loads(arguments) if isinstance(arguments, str) else arguments
        calls.append([call["id"], function["name"], told])
    return [message["role"], message.get("text") or message.get("content") or "", calls, message.get("tool_call_id")]


def read_right(data: Path, logged: Logged) -> dict[str, tuple[int, int]]:
    """Count the published calls of each instrumentation, and those that are word for word what the server saw."""
    rows = pl.read_parquet(table_files(data, "transitions"))
    found: Counter[str] = Counter()
    right: Counter[str] = Counter()
    left = logged.asked.copy()
    for observation, action, tools in rows.select("observation", "action", "tools").iter_rows():
        messages, answer = json.loads(observation), json.loads(action)
        name = logged.instrumentation_of(messages)
        found[name] += 1
        key = canonical([*messages, answer])
        is_offered = [tool["name"] for tool in json.loads(tools or "[]")] == ["calculator"]
        right[name] += is_offered and left[key] > 0
        left[key] -= 1
    return {name: (found[name], right[name]) for name in INSTRUMENTATIONS}
