"""`spanloop train` as a process: what a scheduler sees."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from foundation.errors import ExitStatus
from spanloop.nightly.launching import launch
from spanloop.processes import StageFailed
from tests.commands import spanloop
from tests.fakes import tiny_model
from tests.logged import bandit, publish, transition
from train.schema import read_manifest

pytestmark = pytest.mark.integration


def over_two_processes(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as a launcher runs it on two processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    return subprocess.run(
        [*launcher, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment, cwd=cwd
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset with a training and a held-out split, sampled by the model."""
    rows = [
        *bandit(model, num_tasks=48, attempts=8, rewarded=40),
        *bandit(model, num_tasks=32, attempts=8, rewarded=40, seed=1, split="heldout"),
    ]
    return publish(tmp_path_factory.mktemp("data"), rows)


@pytest.fixture(scope="module")
def report(model: Path, data: Path) -> dict[str, object]:
    """Train once and return the report."""
    result = spanloop("train", "run", "--data", data, "--model", model, "--learning-rate", 3e-3, "--json")
    assert result.returncode == 0, result.stderr
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_a_run_reports_its_checkpoint_and_writes_a_line_an_update(report: dict[str, object], data: Path) -> None:
    """The report is all that is on stdout; metrics are in the directory."""
    checkpoint = Path(str(report["checkpoint"]))

    assert checkpoint.parent == data / "checkpoints"
    lines = (checkpoint / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == report["num_updates"]
    assert {"loss", "reward", "ratio_mean", "ratio_max", "clip_fraction", "kl_call", "entropy", "grad_norm"} <= set(
        json.loads(lines[0])
    )


def test_evaluation_writes_its_verdict_into_the_manifest(report: dict[str, object], data: Path) -> None:
    """The exit status and the manifest say the same, and accepting the inconclusive changes only that."""
    checkpoint = Path(str(report["checkpoint"]))

    result = spanloop("train", "evaluate", "--data", data, "--checkpoint", checkpoint, "--max-kl", 9, "--json")

    gate = read_manifest(checkpoint).gate
    assert gate is not None
    assert gate["estimate"]["num_calls"] == 256
    assert gate["weights_digest"] == read_manifest(checkpoint).weights_digest
    assert json.loads(result.stdout)["gate"] == gate
    assert (result.returncode == 0) is gate["passed"]


def test_a_policy_too_far_from_its_parent_to_be_judged_is_not_accepted(report: dict[str, object], data: Path) -> None:
    """Exit status 3, and the manifest keeps promotion away."""
    checkpoint = Path(str(report["checkpoint"]))

    result = spanloop(
        "train", "evaluate", "--data", data, "--checkpoint", checkpoint, "--max-kl", 1e-6, "--max-nll-rise", 99
    )

    assert result.returncode == 3
    assert "max_kl" in result.stderr
    assert read_manifest(checkpoint).gate["verdict"] == "inconclusive"


def test_nothing_heldout_passes_only_where_the_settings_say_so(
    report: dict[str, object], model: Path, tmp_path: Path
) -> None:
    """Inconclusive is exit status 3 by default."""
    checkpoint = str(report["checkpoint"])
    publish(tmp_path, bandit(model, num_tasks=1, attempts=2, rewarded=40))
    arguments = ("train", "evaluate", "--data", tmp_path, "--checkpoint", checkpoint)

    assert [spanloop(*arguments, *flags).returncode for flags in ([], ["--inconclusive", "accept"])] == [3, 0]


def test_a_rehearsal_writes_nothing(model: Path, data: Path, tmp_path: Path) -> None:
    """It plans and reports."""
    result = spanloop(
        "train", "run", "--data", data, "--model", model, "--out", tmp_path / "out", "--dry-run", "--json"
    )

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["num_trained_calls"] == 384
    assert not (tmp_path / "out").exists()


def test_too_little_data_exits_3_and_says_what_is_lacking(model: Path, tmp_path: Path) -> None:
    """No checkpoint appears, and no prompt in the message."""
    publish(tmp_path, [transition(observation="secret prompt")])

    result = spanloop("train", "run", "--data", tmp_path, "--model", model)

    assert result.returncode == 3
    assert "trainable episodes    1 of at least" in result.stderr
    assert "secret" not in result.stderr
    assert not (tmp_path / "checkpoints").exists()


def test_a_model_that_is_none_exits_2(data: Path, tmp_path: Path) -> None:
    """Wrong settings."""
    assert spanloop("train", "run", "--data", data, "--model", tmp_path).returncode == 2


@pytest.mark.long
@pytest.mark.parametrize("flags", [(), ("--loss", "ppo", "--token-critic")], ids=["by default", "with a token critic"])
def test_two_processes_make_the_checkpoint_of_one(
    model: Path, data: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """Data-parallel over gloo: the same updates, to rounding."""
    arguments = ["train", "run", "--data", data, "--model", model, "--learning-rate", 1e-3, "--epochs", 2]
    arguments += ["--tokens-per-batch", 256, *flags]
    one = spanloop(*arguments, "--out", tmp_path / "one")
    two = over_two_processes("-m", "spanloop", *arguments, "--out", tmp_path / "two", "--json")

    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert json.loads(two.stdout)["num_processes"] == 2
    weights = [load_file(next((tmp_path / name).iterdir()) / "model.safetensors") for name in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-5) for name in weights[0])


@pytest.mark.long
def test_two_processes_train_from_a_store(model: Path, data: Path, tmp_path: Path) -> None:
    """One brings the files, both train on them, and the main one's checkpoint goes back."""
    store = f"file://{tmp_path}/store"
    assert spanloop("etl", "push", "--data", data, "--store", store).returncode == 0
    named = ["--data", store, "--store", store, "--model", model, "--learning-rate", 1e-3, "--epochs", 1]

    two = over_two_processes("-m", "spanloop", "train", "run", *named, "--json", cwd=tmp_path)

    assert two.returncode == 0, two.stderr
    said = json.loads(two.stdout)
    assert said["num_processes"] == 2
    assert spanloop("store", "pull", "--store", store, "--data", tmp_path / "b", "--checkpoint",
                    Path(said["checkpoint"]).name).returncode == 0  # fmt: skip


@pytest.mark.long
def test_a_nights_launcher_trains_on_two_processes(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`torchrun`, as `nightly --launch` runs it; what the training refuses keeps its status through the launcher."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    line = "torchrun --standalone --nproc-per-node 2"
    arguments = ["train", "run", "--data", str(data), "--model", str(model), "--out", str(tmp_path / "out")]

    report = launch(line, arguments, tmp_path / "train.json")

    assert report["num_processes"] == 2
    assert (Path(report["checkpoint"]) / "manifest.json").is_file()
    with pytest.raises(StageFailed) as failed:
        launch(line, [*arguments, "--min-episodes", "100000"], tmp_path / "train.json")
    assert failed.value.exit_status is ExitStatus.REFUSED


@pytest.mark.long
def test_weights_in_pieces_end_as_those_in_one(model: Path, data: Path, tmp_path: Path) -> None:
    """Sharded over two processes, broken off and gone on with: the updates of one process, to rounding."""
    arguments = ["train", "run", "--data", data, "--model", model, "--learning-rate", 1e-3, "--epochs", 2]
    one = spanloop(*arguments, "--kl-budget", 9, "--out", tmp_path / "one")
    two = over_two_processes("-m", "tests.integration.train.sharded", data, model, tmp_path / "two")

    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert "going on" in two.stdout  # nobody sent the narration to stderr
    found = load_file(tmp_path / "two" / "model" / "model.safetensors")
    whole = next(path for path in (tmp_path / "one").iterdir() if not path.name.startswith("."))
    expected = load_file(whole / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in found)


@pytest.mark.long
def test_two_processes_make_an_adapter_for_each_agent(model: Path, tmp_path: Path) -> None:
    """One group of processes serves all trainings of a run, and one agent's refusal leaves it to the others."""
    rows = [
        row | {"agent": agent, "episode_id": f"{agent}-{row['episode_id']}", "span_id": f"{agent}-{row['span_id']}"}
        for seed, (agent, num_tasks) in enumerate({"critic": 1, "planner": 16, "writer": 16}.items())
        for row in bandit(model, num_tasks=num_tasks, attempts=4, rewarded=130, seed=seed)
    ]
    data = publish(tmp_path / "data", rows)
    arguments = ["train", "run", "--data", data, "--model", model, "--adapter", "lora", "--adapter-per-agent"]

    arguments += ["--learning-rate", 1e-3, "--epochs", 1]
    result = over_two_processes("-m", "spanloop", *arguments, "--out", tmp_path / "out", "--json")

    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert set(report["checkpoints"]) == {"planner", "writer"}
    assert set(report["refused"]) == {"critic"}
