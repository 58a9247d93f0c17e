"""A training that is killed, as a scheduler sees it: run again, it publishes what it would have published.

`make reliability` kills it many times over.
"""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foundation.report import RunReport
from tests.fakes import tiny_model
from tests.logged import bandit, publish
from tests.scale import times
from train.plan import make_plan, read_limits
from train.run import train
from train.schema import read_manifest
from train.settings import TrainConfig

pytestmark = [pytest.mark.integration, pytest.mark.long]

KILLS = times(short=1, long=25)


def progress(out: Path) -> str:
    """Return the name of the latest state, empty when there is none."""
    return max((path.name for path in out.glob(".resume-*/state-*")), default="")


@pytest.mark.timeout(1800)
def test_a_killed_run_publishes_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    """SIGKILL at a random instant after some progress, time and again; nothing half-done is ever to be seen."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    instants = random.Random(seed)
    model = tiny_model(tmp_path / "model")
    data = publish(tmp_path / "data", bandit(model, num_tasks=48, attempts=8, rewarded=40))
    settings = {"epochs": 3 + 3 * KILLS, "learning_rate": 1e-4, "kl_budget": 9.0, "save_interval_s": 0.0}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    out = tmp_path / "out"
    command = [sys.executable, "-m", "spanloop", "train", "run", f"--data={data}", f"--model={model}", f"--out={out}"]

    kills = 0
    for _ in range(KILLS):
        seen = progress(out)
        with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while progress(out) <= seen and process.poll() is None:
                time.sleep(0.01)
            time.sleep(instants.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
            _, narration = process.communicate()
        assert seen == "" or b"going on" in narration, narration
        if process.returncode != -signal.SIGKILL:
            break  # it was through before the signal came
        kills += 1
        assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == []
    assert kills

    last = subprocess.run([*command, *arguments, "--json"], capture_output=True, text=True, check=True)
    config = TrainConfig(data=data, model=model, out=tmp_path / "undisturbed", **settings)
    vocabulary_size, max_length = read_limits(model)
    plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
    undisturbed = train(config, plan, RunReport("train run", {}))

    assert undisturbed is not None
    killed = read_manifest(Path(json.loads(last.stdout)["checkpoint"]))
    assert killed.weights_digest == read_manifest(undisturbed).weights_digest
    assert "going on" in last.stderr
    assert list(out.glob(".resume-*")) == []
