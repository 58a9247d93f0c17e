"""Stages without their start: forked from a process that has imported everything and run nothing.

Importing torch and transformers takes longer than a window's training on a small model. `multiprocessing`'s fork server
imports them once; a stage is then a fork of it, a process of its own as ever, that ends when we end. Nothing that runs
threads, holds a device or opens a file may be loaded there: only imports.
"""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from foundation.errors import ExitStatus
from spanloop.processes import StageFailed, end_with_parent

PRELOADED = (
    *("spanloop.cli", "etl.cli", "etl.runs.run", "receiver.reading.opening", "train.cli", "train.run"),
    *("train.gate.evaluate", "serve.cli", "serve.changes", "serve.change.registry"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"),
    *("transformers.models.qwen3.modeling_qwen3", "transformers.models.llama.modeling_llama", "torch._dynamo"),
)
"""What stages import, late imports among it; what is not there is passed over."""


class WarmStages:
    """Runs batch commands of ours as forks of one process. Narration goes to our stderr."""

    def __init__(self) -> None:
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))

    def run(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Run a command with `--json` and return its report; raises `StageFailed` as `run_stage` does."""
        command = ["spanloop", *arguments]
        with tempfile.NamedTemporaryFile(prefix="spanloop-stage-") as output:
            process = self._context.Process(target=_be_stage, args=(command, output.name, Path.cwd(), dict(os.environ)))
            process.start()
            process.join()
            status = process.exitcode if process.exitcode is not None else ExitStatus.FAILED
            if status != ExitStatus.DONE:
                raise StageFailed(command, status, [])
            answer: dict[str, Any] = json.loads(Path(output.name).read_bytes())
        return answer


def _be_stage(command: list[str], output: str, directory: Path, environment: dict[str, str]) -> None:
    """Be the command: its own output, directory and environment, whatever those of the fork server are."""
    if sys.platform.startswith("linux"):
        end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv = command
    with Path(output).open("w") as file:
        sys.stdout = file
        from spanloop.cli import main

        main()
        file.flush()
