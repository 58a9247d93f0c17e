"""Every file of deploy/ passes the tool that knows its kind, and a fault planted in it does not."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.unit.deploy.files import DEPLOY

ROOT = DEPLOY.parent
TOOLS = ROOT / "build" / "deploy-tools"
VERSION = "1.32"
"""Of Kubernetes, that objects are checked against."""

pytestmark = pytest.mark.skipif(not (TOOLS / ".ready").exists(), reason="make test-deploy fetches the tools")


def run(*command: str | Path, cwd: Path = DEPLOY) -> tuple[int, str]:
    """Run a tool; return its status and what it said."""
    path = f"{TOOLS / 'venv' / 'bin'}:{TOOLS / 'bin'}:{os.environ['PATH']}"
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def with_fault(path: Path, right: str, wrong: str, into: Path) -> Path:
    """Write a file with a fault in it, and return it."""
    text = path.read_text()
    assert right in text, f"{path} has changed: plant another fault"
    planted = into / path.name
    planted.write_text(text.replace(right, wrong, 1))
    return planted


SCHEMA = ("check-jsonschema", "--builtin-schema")
WITH_A_FAULT: dict[str, tuple[tuple[str, ...], Path, str, str]] = {
    "hadolint": (("hadolint",), DEPLOY / "Dockerfile", "USER 10001:10001", "RUN pip install torch\nUSER 10001:10001"),
    "compose": ((*SCHEMA, "vendor.compose-spec"), DEPLOY / "compose.yaml", "read_only:", "read_onli:"),
    "compose.scale": ((*SCHEMA, "vendor.compose-spec"), DEPLOY / "compose.scale.yaml", "restart: on", "restrat: on"),
    "github": (
        (*SCHEMA, "vendor.github-workflows"),
        DEPLOY / "examples" / "github-action.yaml",
        "runs-on:",
        "runs_on:",
    ),
    "promtool": (("promtool", "check", "rules"), DEPLOY / "observability" / "alerts.yaml", "> 300", "> > 300"),
}


@pytest.mark.parametrize("name", WITH_A_FAULT)
def test_a_file_passes_and_one_with_a_fault_does_not(name: str, tmp_path: Path) -> None:
    """Dockerfile, compose files, workflow, alerts."""
    command, path, right, wrong = WITH_A_FAULT[name]

    assert run(*command, path)[0] == 0, run(*command, path)[1]
    assert run(*command, with_fault(path, right, wrong, tmp_path))[0] != 0


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """And promtool's own tests of them fail where a bound is another."""
    folder = DEPLOY / "observability"
    assert run("promtool", "test", "rules", "alerts_test.yaml", cwd=folder)[0] == 0
    shutil.copy(folder / "alerts_test.yaml", tmp_path)
    with_fault(folder / "alerts.yaml", "> 300", "> 30000", tmp_path)

    assert run("promtool", "test", "rules", "alerts_test.yaml", cwd=tmp_path)[0] != 0


def rendered(folder: Path, into: Path) -> Path:
    """Return what Kustomize makes of a folder."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    status, said = run("kubectl", "kustomize", folder)
    assert status == 0, said
    path = into / "rendered.yaml"
    path.write_text(said)
    return path


@pytest.mark.parametrize("folder", ["base", "overlays/single-node", "overlays/scale"])
def test_objects_are_what_kubernetes_takes(folder: str, tmp_path: Path) -> None:
    """By its own schema, unknown fields refused; kinds of others (monitors) are known by Prometheus' operator alone."""
    path = rendered(DEPLOY / "kustomize" / folder, tmp_path)
    ours = [each for each in yaml.safe_load_all(path.read_text()) if "monitoring.coreos.com" not in each["apiVersion"]]
    path.write_text(yaml.safe_dump_all(ours))
    check = ("kubernetes-validate", "--strict", "--kubernetes-version", VERSION)

    assert run(*check, path)[0] == 0, run(*check, path)[1]
    for right, wrong in (("containerPort:", "containerPrt:"), ("podFailurePolicy:", "podFailPolicy:")):
        assert run(*check, with_fault(path, right, wrong, tmp_path))[0] != 0


def chart(*settings: str, into: Path) -> tuple[int, str]:
    """Return what Helm makes of the chart; it knows no cluster's version and is told one."""
    status, said = run(
        "helm",
        "template",
        "loop",
        "helm/spanloop",
        "--namespace",
        "spanloop",
        "--kube-version",
        f"{VERSION}.0",
        *settings,
    )
    said = "\n".join(line for line in said.splitlines() if not line.startswith("walk.go"))
    (into / "chart.yaml").write_text(said)
    return status, said


def test_the_chart_makes_the_very_objects_that_kustomize_makes(tmp_path: Path) -> None:
    """With the values it comes with, all but the versions of the images."""
    of_kustomize = yaml.safe_load_all(rendered(DEPLOY / "kustomize" / "base", tmp_path).read_text())
    status, said = chart(into=tmp_path)
    assert status == 0, said
    of_helm = yaml.safe_load_all(said.replace(":0.1.0", ""))

    def specs(found: object) -> dict[tuple[str, str], object]:
        assert hasattr(found, "__iter__")
        return {(each["kind"], each["metadata"]["name"]): each.get("spec") for each in found if each}

    assert specs(of_helm) == specs(of_kustomize)


def test_values_change_what_they_name_and_a_misspelt_one_is_refused(tmp_path: Path) -> None:
    """The chart's own schema says which there are."""
    status, said = chart(
        "--set", "images.spanloop-receiver=registry/receiver:7,sameNode=false,networkPolicy=false,monitoring=true",
        "--set", "storage.spanloop-loop.accessMode=ReadWriteMany,nightly.schedule=0 4 * * *,keySecret=mine",
        into=tmp_path,
    )  # fmt: skip
    assert status == 0, said
    kinds = {each["kind"] for each in yaml.safe_load_all(said) if each}
    assert "ServiceMonitor" in kinds
    assert "NetworkPolicy" not in kinds
    for wanted in ("registry/receiver:7", "ReadWriteMany", "0 4 * * *", "secretName: mine"):
        assert wanted in said
    assert "podAffinity" not in said
    assert "spanloop-key" not in said
    assert chart("--set", "nightly.schedul=x", into=tmp_path)[0] != 0
    assert run("helm", "lint", "helm/spanloop")[0] == 0


def units(into: Path, change: Callable[[str], str] = lambda text: text) -> str:
    """Return what systemd says of the units, with a program that is there in place of ours."""
    for path in (DEPLOY / "systemd").glob("*.*"):
        if path.suffix in {".service", ".timer"}:
            text = path.read_text().replace("/opt/spanloop/.venv/bin/spanloop", "/bin/true")
            lines = [line for line in text.splitlines(keepends=True) if not line.startswith("Documentation=")]
            (into / path.name).write_text(change("".join(lines)))
    return run("systemd-analyze", "verify", *sorted(into.glob("*.service")), *sorted(into.glob("*.timer")))[1]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_units_are_read_without_a_word_and_leave_little_open(tmp_path: Path) -> None:
    """`verify` ends with status 0 whatever it finds: what it says is what counts."""
    assert units(tmp_path) == ""
    assert "Unknown key" in units(tmp_path, lambda text: text.replace("[Service]", "[Service]\nExecStrat=/bin/true"))
    for path in (DEPLOY / "systemd").glob("*.service"):
        _, said = run("systemd-analyze", "security", "--offline=yes", path)
        assert float(said.rpartition("service: ")[2].split()[0]) <= 3.0, path.name
    assert run("systemd-analyze", "calendar", "02:30")[0] == 0


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd is not installed")
def test_the_user_can_be_made(tmp_path: Path) -> None:
    """A line that is none is refused."""
    path = DEPLOY / "systemd" / "sysusers.d-spanloop.conf"
    assert run("systemd-sysusers", "--dry-run", path)[0] == 0
    assert run("systemd-sysusers", "--dry-run", with_fault(path, "u spanloop", "q spanloop", tmp_path))[0] != 0


def test_all_of_it_is_yaml() -> None:
    """Each key once, in every file that is no template."""
    rules = (
        "{extends: default, rules: {line-length: disable, document-start: disable, braces: disable, brackets: disable, "
    )
    rules += "comments: {min-spaces-from-content: 1}, truthy: disable, indentation: disable, commas: disable}}"
    files = [path for path in DEPLOY.rglob("*.yaml") if "templates" not in path.parts and "helm" not in path.parts]

    status, said = run("yamllint", "--strict", "-d", rules, *files)

    assert status == 0, said
