"""What schedulers make of the exit statuses of a night: the examples are run on a command that ends with each."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest
import yaml

from foundation.errors import ExitStatus
from tests.unit.deploy.files import DEPLOY

EXAMPLES = DEPLOY / "examples"
STATUSES = sorted(map(int, ExitStatus))


@pytest.fixture
def ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what puts a `spanloop` in the way that ends with a status."""

    def put(status: int) -> None:
        command = tmp_path / "spanloop"
        command.write_text(f'#!/bin/sh\necho \'{{"status": "done", "checkpoint": "c"}}\'\nexit {status}\n')
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.setenv("RUNNER_TEMP", str(tmp_path))
        monkeypatch.setenv("KEY", "sl_secret")
        monkeypatch.chdir(tmp_path)

    return put


class Anything:
    """Stands for a class of a scheduler: keeps what it was made with."""

    made: dict[str, Any]

    def __init__(self, *_: Any, **settings: Any) -> None:
        type(self).made = settings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the block."""


def load(name: str, monkeypatch: pytest.MonkeyPatch, **modules: dict[str, Any]) -> ModuleType:
    """Import an example over modules that stand for the scheduler's."""
    for module, content in modules.items():
        parts = module.split("__")
        for number in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:number]), ModuleType(".".join(parts[:number])))
        for key, value in content.items():
            setattr(sys.modules[".".join(parts)], key, value)
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("status", STATUSES)
def test_github_goes_on_after_a_refusal_and_a_lock(status: int, ending: Any) -> None:
    """And fails for what people have to look at; the key is gone afterwards."""
    workflow = yaml.safe_load((EXAMPLES / "github-action.yaml").read_text())
    (step,) = workflow["jobs"]["nightly"]["steps"]
    ending(status)

    ended = subprocess.run(["bash", "-eo", "pipefail", "-c", step["run"]], stdout=subprocess.DEVNULL, check=False)

    assert ended.returncode == (status if status in (ExitStatus.FAILED, ExitStatus.SETTINGS) else 0)
    assert not Path("key").exists()


@pytest.mark.parametrize("status", STATUSES)
def test_airflow_skips_a_refusal_and_tries_a_lock_again(
    status: int, ending: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one status that it skips at is a refusal's; whatever else fails is tried again."""
    operator = type("BashOperator", (Anything,), {})
    load(
        "airflow_dag",
        monkeypatch,
        airflow__sdk={"DAG": type("DAG", (Anything,), {})},
        airflow__providers__standard__operators__bash={"BashOperator": operator},
    )
    ending(status)

    ended = subprocess.run(["bash", "-c", operator.made["bash_command"]], stdout=subprocess.DEVNULL, check=False)

    assert (ended.returncode == operator.made["skip_on_exit_code"]) is (status == ExitStatus.REFUSED)
    assert (ended.returncode == 0) is (status == ExitStatus.DONE)
    assert operator.made["retries"] > 0


@pytest.mark.parametrize("status", STATUSES)
def test_dagster_tries_a_lock_again_and_shows_the_report(
    status: int, ending: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal is a result: the live model stays."""
    failure, retry = (
        type("Failure", (Exception,), {}),
        type("RetryRequested", (Exception,), {"__init__": lambda *_, **__: None}),
    )
    result = type("MaterializeResult", (Anything,), {})
    others = {name: type(name, (Anything,), {}) for name in ("Definitions", "ScheduleDefinition")}
    found = {"Failure": failure, "RetryRequested": retry, "MaterializeResult": result, **others}
    named = {"asset": lambda made: made, "define_asset_job": lambda *_, **__: None}
    job = load("dagster_job", monkeypatch, dagster={**found, **named})
    ending(status)

    if status in (ExitStatus.DONE, ExitStatus.REFUSED):
        job.policy()
        assert result.made["metadata"] == {"status": "done", "checkpoint": "c"}
    else:
        with pytest.raises(retry if status == ExitStatus.BUSY else failure):
            job.policy()
