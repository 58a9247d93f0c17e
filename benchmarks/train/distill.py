r"""What a student learns of a hosted teacher's calls: collected over OTLP, published, distilled, replayed.

    OMP_NUM_THREADS=1 python -m benchmarks.train.distill --calls 2000          # and with --shuffled: answers by chance
    python -m benchmarks.train.distill --only replay --seeds 40                # what replay says of better and worse

A scripted teacher answers behind an OpenAI-compatible URL, wrong in a tenth of its calculations; agents work on the
demo's problems and write spans as three instrumentations do. Student is the demo's policy. The score is success on 1024
held-out problems in one attempt each at temperature 1 (standard error at most 0.016).
"""

import argparse
import json
import random
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence as Many
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer

from benchmarks.train.nights import EXAMPLE, success
from benchmarks.train.writers import WRITERS, Message, Writer
from examples.teacher import calling, serving

from agent import evaluate  # isort: skip - the example is a directory of scripts
from episode import TOOLS, first_messages  # isort: skip
from problems import Problem, generate, grade  # isort: skip

from etl.schema import table_files
from otel_exporter.schema import AGENT_NAME, EVALUATION_EVENT, EVALUATION_NAME, EVALUATION_SCORE, SPLIT, TASK_ID
from spanloop.processes import StageFailed, free_port, run_stage, running_server, spanloop_command
from spanloop.replay.asking import Answer
from spanloop.replay.comparison import Verdict, compare
from spanloop.replay.messages import from_openai
from spanloop.replay.scoring import by_outcomes
from spanloop.replay.states import State, read_states
from spanloop.replay.trial import attempt, recorded
from tests.logged import publish, transition

ERRORS = 0.1
"""Of the teacher's calculations, share that takes a wrong sign."""

SWAPPED = str.maketrans("+-*", "-*+")


def reply(problems: dict[str, Problem]) -> Any:  # noqa: ANN401 - examples.teacher.Reply
    """Return the teacher: it calculates, then says what came out."""

    def answer(messages: list[Message]) -> Message:
        if messages[-1]["role"] == "tool":
            return {"content": f"The answer is {messages[-1]['content']}."}
        problem = problems[messages[-1]["content"]]
        draw = random.Random(problem.text)
        expression = problem.expression.translate(SWAPPED) if draw.random() < ERRORS else problem.expression
        return calling("calculator", {"expression": expression}, number=draw.randrange(10**9))

    return answer


def work(problem: Problem, url: str, tracer: Tracer, scope: str, write: Writer) -> float:
    """Be an agent at one problem: ask, use the tool, ask again, in spans of one instrumentation; return the reward."""
    messages = first_messages(problem)
    with tracer.start_as_current_span("attempt", attributes={TASK_ID: problem.task_id, SPLIT: problem.split}) as root:
        for _ in range(4):
            with tracer.start_as_current_span(f"chat {scope}") as span:
                body = json.dumps({"model": "scripted-teacher", "messages": messages, "tools": TOOLS}).encode()
                request = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=60) as response:
                    answer = json.loads(response.read())["choices"][0]["message"]
                span.set_attributes(write(messages, TOOLS, answer) | {AGENT_NAME: "solver"})
            messages = [*messages, answer]
            if not answer.get("tool_calls"):
                break
            for call in answer["tool_calls"]:
                result = calculate(json.loads(call["function"]["arguments"])["expression"])
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        outcome = grade(str(messages[-1].get("content")), problem)
        root.add_event(EVALUATION_EVENT, {EVALUATION_NAME: "outcome", EVALUATION_SCORE: outcome})
    return outcome


def calculate(expression: str) -> str:
    """Return what the tool says."""
    try:
        return str(evaluate(expression))
    except (ValueError, ArithmeticError):
        return "error"


def collect(data: Path, *, num_problems: int, seed: int) -> float:
    """Have the teacher's agents work and their spans received; return the teacher's mean reward."""
    grpc, http = free_port(), free_port()
    receiver = spanloop_command(
        *("receiver", "run", "--data", str(data), "--grpc", f"127.0.0.1:{grpc}", "--http", f"127.0.0.1:{http}")
    )
    num_heldout = num_problems // 5
    problems = generate(num_problems - num_heldout, split="train", seed=seed)
    problems += generate(num_heldout, split="heldout", seed=seed)
    with (
        running_server(
            "receiver",
            receiver,
            ready_url=f"http://127.0.0.1:{http}/readyz",
            log=data.parent / "receiver.log",
            timeout_s=60,
        ),
        serving(reply({problem.text: problem for problem in problems})) as url,
    ):
        provider = TracerProvider(resource=Resource.create({"service.name": "calculator"}))
        exporter = OTLPSpanExporter(f"http://127.0.0.1:{http}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100_000))
        jobs = [(problem, *list(WRITERS.items())[index % len(WRITERS)]) for index, problem in enumerate(problems)]
        with ThreadPoolExecutor(8) as pool:
            rewards = list(pool.map(lambda job: work(job[0], url, provider.get_tracer(job[1]), job[1], job[2]), jobs))
        provider.shutdown()
    return sum(rewards) / len(rewards)


def shuffle(data: Path, target: Path, *, seed: int) -> Path:
    """Publish the same transitions with answers dealt anew, first ones among first ones and so on."""
    rows = pl.read_parquet(table_files(data, "transitions"))
    dealt = rows.with_columns(action=pl.col("action").shuffle(seed=seed).over("step"))
    return publish(target, dealt.to_dicts())


def distil(data: Path, *, seed: int) -> tuple[str, float | None, float]:
    """Return what came of a distillation in words, the student's success, and the seconds it took."""
    began = time.monotonic()
    try:
        report = run_stage(
            *("distill", "--data", str(data), "--model", str(EXAMPLE / "policy")),
            *("--seed", str(seed)),
        )
    except StageFailed as failed:
        return f"status {int(failed.exit_status)}: {failed.said.splitlines()[0]}", None, time.monotonic() - began
    took = time.monotonic() - began
    said = f"held-out loss {report['heldout_loss_before']} to {report['heldout_loss_after']}, {report['epochs']} passes"
    print(f"checkpoint {report['checkpoint']}; left out {report['left_out']}", flush=True)
    return said, success(Path(report["checkpoint"])), took


def run_distil(arguments: argparse.Namespace) -> None:
    """Collect, publish, distil, and once more with answers by chance."""
    base = success(EXAMPLE / "policy")
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        data.mkdir()
        began = time.monotonic()
        teacher = collect(data, num_problems=arguments.calls // 2, seed=arguments.seed)
        run_stage("etl", "run", "--data", str(data))
        rows = pl.read_parquet(table_files(data, "transitions"))
        print(
            f"{rows.height} calls in {time.monotonic() - began:.0f} s; teacher {teacher:.3f}, base {base:.3f}",
            flush=True,
        )
        said, student, took = distil(data, seed=arguments.seed)
        share = (student or 0.0) / teacher
        print(f"student {student} ({share:.0%} of the teacher's score) in {took:.0f} s; {said}", flush=True)
        if arguments.shuffled:
            mixed = shuffle(data, Path(place) / "shuffled", seed=arguments.seed)
            said, student, took = distil(mixed, seed=arguments.seed)
            print(f"answers by chance: student {student} in {took:.0f} s; {said}", flush=True)


class Policy:
    """A model that calculates right with some probability, else with another sign; the seed of a question decides."""

    def __init__(self, problems: dict[str, Problem], right: float) -> None:
        self.problems, self.right = problems, right

    def __call__(self, body: dict[str, Any]) -> Answer:
        """Answer as a chat API does."""
        last = body["messages"][-1]
        if last["role"] == "tool":
            return Answer(from_openai({"content": f"The answer is {last['content']}."}), "stop", 0.0, None)
        draw = random.Random(f"{body['seed']}/{self.right}")
        problem = self.problems[last["content"]]
        expression = problem.expression
        if draw.random() >= self.right:
            expression = expression.translate(SWAPPED if draw.random() < 0.5 else str.maketrans("+-*", "*+-"))
        return Answer(from_openai(calling("calculator", {"expression": expression}, number=1)), "tool_calls", 0.0, None)


def log(problems: Many[Problem], policy: Policy, *, attempts: int, seed: int) -> list[dict[str, Any]]:
    """Return the transitions of a policy at work."""
    rows = []
    for number, problem in enumerate(problems):
        for turn in range(attempts):
            name = f"{number}-{turn}"
            asked = [{**message, "text": message["content"]} for message in first_messages(problem)]
            body = {"messages": first_messages(problem), "seed": f"{seed}/{name}"}
            call = policy(body).message
            said = calculate(call["tool_calls"][0]["arguments"]["expression"])
            shown = [*asked, call, {"role": "tool", "text": said, "tool_call_id": call["tool_calls"][0]["id"]}]
            common: dict[str, Any] = {
                "episode_id": name, "task_id": problem.task_id, "outcome": float(said == str(problem.answer)),
                "split": "heldout", "evidence": "D", "prompt_token_ids": None, "response_token_ids": None,
                "behavior_logprobs": None, "trace_id": f"{number:016x}{turn:016x}", "params": "{}",
            }  # fmt: skip
            last = {"role": "assistant", "text": f"The answer is {said}.", "tool_calls": []}
            for step, (observation, action) in enumerate(((asked, call), (shown, last))):
                following = {"next_span_id": f"{name}/1"} if step == 0 else {}
                rows.append(
                    transition(
                        **common,
                        **following,
                        span_id=f"{name}/{step}",
                        step=step,
                        observation=json.dumps(observation),
                        action=json.dumps(action),
                    )
                )
    return rows


def run_replay(arguments: argparse.Namespace) -> None:
    """Replay a live policy, an equal and a worse one, over seeds, and count what was said of them."""
    within = worse = equal_refused = equal_better = 0
    for seed in range(arguments.seeds):
        problems = generate(arguments.tasks, split="heldout", seed=1000 + seed)
        by_text = {problem.text: problem for problem in problems}
        live, lesser = Policy(by_text, 0.7), Policy(by_text, 0.7 - arguments.loss)
        with tempfile.TemporaryDirectory() as place:
            data = publish(Path(place), log(problems, live, attempts=4, seed=seed))
            states: list[State] = read_states(data, tools_from="task")
        score = by_outcomes(states)
        logged, own = recorded(states, score), attempt(states, live, score, seed=seed)
        assert logged.mean is not None
        assert own.mean is not None
        within += logged.mean.low <= own.mean.mean <= logged.mean.high
        for candidate, which in ((live, "equal"), (lesser, "worse")):
            other = attempt(states, candidate, score, seed=seed + 10_000)
            found = compare(own.replays, other.replays, (own.scores, other.scores), seed=seed, margin=0.0)
            is_refused = found.verdict is Verdict.REFUSED
            worse += is_refused and which == "worse"
            equal_refused += is_refused and which == "equal"
            equal_better += which == "equal" and found.difference is not None and found.difference.low > 0
    print(
        f"of {arguments.seeds} seeds, {arguments.tasks} tasks of 4 attempts: the live policy's own replay within the "
        f"interval of what was logged {within}; one that is right {arguments.loss:g} less often found worse {worse}; "
        f"an equal one refused {equal_refused}, called better {equal_better}"
    )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("distil", "replay"))
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--shuffled", action="store_true", help="distil a second time, from answers dealt by chance")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--loss", type=float, default=0.15)
    arguments = parser.parse_args()
    if arguments.only != "replay":
        run_distil(arguments)
    if arguments.only != "distil":
        run_replay(arguments)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
