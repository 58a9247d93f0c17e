r"""Makes a model that can begin: it imitates runs of the agent whose model was the gold answers.

    python -m examples.spider.warm_start --datasets DIR --model build/models/smollm2-135m-instruct --out MODEL \
        --python build/tasks/spider/bin/python

The agent runs against a teacher, its spans go to a receiver, the ETL makes transitions of them, and `spanloop train run
--recipe imitate` trains on them: the loop itself, with another model behind the agent. Only gold of the train split is
used.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from socket import socket
from time import monotonic, sleep
from urllib.error import URLError
from urllib.request import urlopen

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer

from examples.teacher import Reply, serving

ROOT = Path(__file__).parents[1]

TRAINING = (
    *("--recipe", "imitate", "--epochs", "1", "--heldout-share", "0"),
    *("--learning-rate", "2e-4", "--episodes-per-update", "16"),
)
"""The same for every task."""

PATIENCE = {"OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
"""Seconds an export may take: a busy machine loses no demonstration."""

STARTED_WITHIN_S = 300
"""The receiver may be starting that long, on a machine that is busy; one that has ended is not waited for."""

TRIES = 3
"""At starting the receiver: a port that was free may be somebody's by then."""


def parse(description: str | None, *, episodes: int) -> tuple[argparse.Namespace, list[str]]:
    """Read the command line; what is not known here is for the agent."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--datasets", type=_absolute, required=True)
    parser.add_argument("--model", type=_absolute, required=True, help="what imitates")
    parser.add_argument("--out", type=_absolute, required=True, help="directory the warm model appears in")
    parser.add_argument(
        "--python", type=_absolute, default=Path(sys.executable), help="interpreter that has the framework"
    )
    parser.add_argument("--episodes", type=int, default=episodes, help="demonstrations")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_known_args()


def _absolute(path: str) -> Path:
    return Path(path).absolute()  # not resolved: the interpreter of an environment is a link


def warm_start(script: str, reply: Reply, options: argparse.Namespace, flags: Sequence[str]) -> Path:
    """Have the agent of a script demonstrate, train on it, and return the warm model's directory.

    What was interrupted goes on: demonstrations that are whole are not asked for again, and training resumes.
    """
    out = Path(options.out)
    if (out / "manifest.json").exists():
        return out
    scratch = out.with_name(f".{out.name}-demonstrations")
    data, collected = scratch / "data", scratch / "collected.json"
    asked = json.dumps([script, str(options.datasets), options.episodes, options.seed, *flags])
    if not collected.exists() or collected.read_text() != asked:
        shutil.rmtree(scratch, ignore_errors=True)
        _demonstrate(script, reply, options, flags, data)
        collected.write_text(asked)
    _spanloop("etl", "run", "--data", str(data), "--complete-after", "0")
    _spanloop("train", "run", "--data", str(data), "--model", str(options.model), "--out", f"{scratch}/out", *TRAINING)
    (made,) = Path(scratch, "out").glob("*/manifest.json")
    shutil.move(made.parent, out)
    shutil.rmtree(scratch)
    return out


def _demonstrate(script: str, reply: Reply, options: argparse.Namespace, flags: Sequence[str], data: Path) -> None:
    environment = {**PATIENCE, **os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "none"}
    collect = [options.python, "-m", script, "--datasets", options.datasets, "--split", "train", *flags]
    collect += ["--episodes", str(options.episodes), "--seed", str(options.seed), "--concurrency", "8"]
    with receiving(data) as endpoint, _tracing(endpoint) as tracer, serving(reply, tracer) as url:
        told = {"OPENAI_BASE_URL": url, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        done = subprocess.run(collect, env=environment | told, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    summary = json.loads(done.stdout)
    sys.stderr.write(f"{summary['episodes']} demonstrations, mean reward {summary['reward']:.3f}\n")


def _spanloop(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "spanloop", *arguments], check=True, cwd=ROOT)


@contextmanager
def _tracing(endpoint: str) -> Iterator[Tracer]:
    provider = TracerProvider(resource=Resource.create({"service.name": "teacher"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces"), max_queue_size=65_536))
    try:
        yield provider.get_tracer("examples.teacher")
    finally:
        provider.shutdown()


class receiving:  # noqa: N801 - reads as the verb it is
    """Runs a receiver while a block lasts; gives its address."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def __enter__(self) -> str:
        log = self.data.with_name(f"{self.data.name}.log")
        for _ in range(TRIES):
            grpc, http = _free_port(), _free_port()
            if self._starts(grpc, http, log):
                return f"http://127.0.0.1:{http}"
        raise RuntimeError(f"the receiver did not start:\n{log.read_text(errors='replace')[-2000:]}")

    def _starts(self, grpc: int, http: int, log: Path) -> bool:
        """Start the receiver and wait until it answers; false where it ends instead."""
        places = ("--grpc", f"127.0.0.1:{grpc}", "--http", f"127.0.0.1:{http}")
        command = [sys.executable, "-m", "spanloop", "receiver", "run", "--data", str(self.data), *places]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as said:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said)
        deadline = monotonic() + STARTED_WITHIN_S
        while not _answers(f"http://127.0.0.1:{http}/readyz"):
            if self.process.poll() is not None:
                return False
            if monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                return False
            sleep(0.1)
        return True

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _free_port() -> int:
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
