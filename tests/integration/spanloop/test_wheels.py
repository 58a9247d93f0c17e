"""Wheels in an environment that has nothing else of ours, run where there is no checkout.

What they depend on comes from this environment's packages, so that no network is needed; `make test-wheels` installs
that from the index instead, by the lock, which shows that the extras name all of it.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import ExitStatus

ROOT = Path(__file__).parents[3]
FROM_INDEX = os.environ.get("WHEELS_FROM_INDEX") == "1"
EXTRAS = "[receiver,etl,page]"
RECORDED = ROOT / "tests" / "fixtures" / "otlp" / "openinference-openai-agents"

pytestmark = [pytest.mark.integration, pytest.mark.long]


def build(project: Path, out: Path, **environment: str) -> Path:
    """Build a wheel of a project and return it."""
    out.mkdir(parents=True)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    subprocess.run(command, cwd=project, env={**os.environ, **environment}, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    return wheel


class Installed:
    """An environment with wheels of ours in it, and a directory to run in."""

    def __init__(self, place: Path, wheels: list[Path]) -> None:
        self.place = place
        self.python = place / "env" / "bin" / "python"
        self.work = place / "work"
        self.work.mkdir(parents=True)
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, place / "env"], check=True)
        install = [*uv, "pip", "install", "--quiet", "--python", str(self.python)]
        if FROM_INDEX:
            named = [f"{wheel}{EXTRAS}" if wheel.name.startswith("spanloop-") else str(wheel) for wheel in wheels]
            lock = ROOT / "requirements" / "constraints.txt"
            subprocess.run([*install, "--constraint", str(lock), *named], check=True)
        else:
            subprocess.run([*install, "--no-deps", "--no-index", *map(str, wheels)], check=True)
            # A path named so is searched, and the paths that its own files name are not: no editable installation.
            site = next((place / "env" / "lib").glob("python*/site-packages"))
            (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    def run(self, *command: str, statuses: tuple[int, ...] = (0,), timeout_s: float = 240) -> str:
        """Run a program of the environment; return what it printed."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        ended = subprocess.run(
            [str(self.python.parent / command[0]), *command[1:]],
            cwd=self.work,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert ended.returncode in statuses, ended.stderr
        return ended.stdout

    def ask(self, expression: str) -> Any:
        """Return what an expression is there, over JSON."""
        return json.loads(self.run("python", "-c", f"import json, importlib.util; print(json.dumps({expression}))"))


@pytest.fixture(scope="module", params=["compiled", "pure"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    place = tmp_path_factory.mktemp(request.param)
    pure = {"SPANLOOP_PURE": "1"} if request.param == "pure" else {}
    wheels = [build(ROOT, place / "ours", **pure), build(ROOT / "otel_exporter", place / "exporter")]
    assert ("none-any" in wheels[0].name) is (request.param == "pure")
    yield Installed(place, wheels)
    shutil.rmtree(place, ignore_errors=True)


def test_receiver_etl_and_doctor_run_from_the_wheel(installed: Installed) -> None:
    """From spans to transitions, with no file of the checkout; the compiled decoder where the wheel has it."""
    where = installed.ask("importlib.import_module('receiver').__file__")
    assert Path(where).is_relative_to(installed.place)
    has_decoder = installed.ask("importlib.import_module('receiver.decode.native').LIBRARY.exists()")
    assert has_decoder is ("none-any" not in next((installed.place / "ours").glob("*.whl")).name)

    installed.run("spanloop", "receiver", "import", "--data", "data", *map(str, sorted(RECORDED.glob("tool_call*.pb"))))
    report = json.loads(installed.run("spanloop", "etl", "run", "--data", "data", "--complete-after", "0", "--json"))
    assert report["num_rows"]["transitions"] > 0
    found = json.loads(installed.run("spanloop", "doctor", "--data", "data", "--json", statuses=(0, 1)))
    assert "engine" in {finding["check"] for finding in found["findings"]}
    counted = installed.run("spanloop", "sql", "--data", "data", "--format", "csv", "select count(*) from transitions")
    assert int(counted.splitlines()[-1]) == report["num_rows"]["transitions"]


def test_the_exporter_comes_alone(installed: Installed, tmp_path: Path) -> None:
    """One package, and nothing of the server's."""
    (wheel,) = (installed.place / "exporter").glob("*.whl")
    alone = Installed(tmp_path, [wheel])

    assert (
        alone.ask("importlib.import_module('otel_exporter.exporter').SpanloopExporter.__name__") == "SpanloopExporter"
    )
    assert alone.ask("importlib.util.find_spec('receiver')") is None


@pytest.mark.skipif(FROM_INDEX, reason="the demo needs all extras")
@pytest.mark.parametrize("installed", ["pure"], indirect=True)
@pytest.mark.timeout(1200)  # a night with two servers: minutes on a busy machine
def test_the_demo_runs_from_the_wheel(installed: Installed) -> None:
    """Its agent, problems and policy are in it; with so few problems its gain may be chance, and it says so."""
    statuses = (int(ExitStatus.DONE), int(ExitStatus.REFUSED))
    sizes = ("--nights", "1", "--problems", "8", "--heldout", "8", "--engine", "embedded")

    said = installed.run("spanloop", "demo", *sizes, "--json", statuses=statuses, timeout_s=1000)

    assert json.loads(said)["heldout_problems"] == 8
