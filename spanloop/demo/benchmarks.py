"""The three benchmarks an agent can learn in the demo: how each is asked, and the environment of its framework."""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import SettingsError
from foundation.narration import get_logger
from spanloop.demo.settings import DemoConfig

log = get_logger("demo")

ROOT = Path(__file__).parents[2]
BUILD = Path("build")


@dataclass(frozen=True)
class Benchmark:
    """A task with its framework, in `examples/NAME`."""

    name: str
    heldout: str
    """Split whose questions are never trained on."""

    restricted: tuple[str, ...]
    """Flags of the part that a small model can begin with; without them it is the full task."""

    agents: tuple[str, ...] = ()
    """Agents that are trained. Empty: all."""

    measures: tuple[str, ...] = ()
    """What is reported beside the reward."""

    @property
    def script(self) -> str:
        """Module that lets the agent attempt questions."""
        return f"examples.{self.name}.collect"

    def flags(self, config: DemoConfig) -> list[str]:
        """Return how the questions are asked."""
        return [] if config.full else list(self.restricted)


BENCHMARKS = {
    one.name: one
    for one in (
        Benchmark(
            "spider",
            heldout="dev",
            restricted=("--one-table", "--max-turns", "1", "--max-tokens", "40"),
            agents=("write", "rewrite"),
            measures=("valid",),
        ),
        Benchmark(
            "musique",
            heldout="dev",
            restricted=(
                "--hops",
                "2",
                "--top-k",
                "2",
                "--paragraph-chars",
                "120",
                "--max-tokens",
                "48",
                "--reward",
                "recall",
            ),
            measures=("support_recall", "f1"),
        ),
        Benchmark(
            "calcx",
            heldout="dev",
            restricted=("--dataset", "svamp", "--steps", "1", "--max-tokens", "48"),
            measures=("exact", "called"),
        ),
    )
}


def environment(benchmark: Benchmark) -> Path:
    """Return the interpreter of a benchmark's own environment, made where it is not there or no longer fits.

    Frameworks pin what others need in another version, so each has its own, below build/tasks.
    """
    requirements = ROOT / "examples" / benchmark.name / "requirements.txt"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    place = (BUILD / "tasks" / benchmark.name).absolute()
    python, mark = place / "bin" / "python", place / "requirements.sha256"
    if python.exists() and mark.exists() and mark.read_text() == wanted:
        return python
    log.info("making the environment of the framework", path=str(place))
    uv = [sys.executable, "-m", "uv"]
    try:
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)], check=True)
        install = ["pip", "install", "--quiet", "--python", str(python), "--requirement", str(requirements)]
        subprocess.run([*uv, *install], check=True)
    except subprocess.CalledProcessError as error:
        raise SettingsError(
            f"the environment of {benchmark.name} could not be made: {' '.join(map(str, error.cmd))}",
            hint="It needs a package index once; what uv said is above.",
        ) from error
    mark.write_text(wanted)
    return python


def require_inputs(benchmark: Benchmark, config: DemoConfig) -> None:
    """Check that data sets and model are there, before anything is started."""
    folder = config.datasets / benchmark.name
    if not folder.is_dir():
        raise SettingsError(
            f"there are no data sets of {benchmark.name} in {config.datasets}",
            hint="--datasets DIR names the directory that holds them; docs/tasks.md says what is in it.",
        )
    if not (config.model / "config.json").exists():
        raise SettingsError(
            f"there is no model in {config.model}", hint="Make it with `make model`, or name another with --model DIR."
        )


def warm_model(benchmark: Benchmark, config: DemoConfig, python: Path) -> Path:
    """Return the model the loop begins with: the one named, or what it became by imitating gold answers, made once."""
    if not config.warm:
        return config.model.absolute()
    flags = benchmark.flags(config)
    told = [str(config.model.absolute()), str(config.datasets.absolute()), *flags]
    name = f"{benchmark.name}-warm-{hashlib.sha256(' '.join(told).encode()).hexdigest()[:8]}"
    out = (BUILD / "models" / name).absolute()
    if (out / "manifest.json").exists():
        return out
    log.info("the model imitates gold answers of the train split", out=str(out))
    command = [sys.executable, "-m", f"examples.{benchmark.name}.warm_start", "--datasets", config.datasets.absolute()]
    command += ["--model", config.model.absolute(), "--out", out, "--python", python, *flags]
    done = subprocess.run(
        [*map(str, command)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=sys.stderr, check=False
    )
    if done.returncode:
        raise SettingsError(
            f"the warm start of {benchmark.name} ended with status {done.returncode}",
            hint="What it said is above; --no-warm begins with the model as it is.",
        )
    return out
