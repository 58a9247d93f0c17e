"""What the tests of deployment files read them with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"
BASE = DEPLOY / "kustomize" / "base"

Object = dict[str, Any]


def documents(path: Path) -> list[Object]:
    """Return the documents of a YAML file."""
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


def objects() -> list[Object]:
    """Return every object of the Kustomize base."""
    return [found for path in sorted(BASE.glob("*.yaml")) if path.stem != "kustomization" for found in documents(path)]


def pods() -> dict[str, Object]:
    """Return the pod of every workload, by its name."""
    found = {}
    for each in objects():
        if each["kind"] in {"Deployment", "StatefulSet"}:
            found[each["metadata"]["name"]] = each["spec"]["template"]
        elif each["kind"] == "CronJob":
            found[each["metadata"]["name"]] = each["spec"]["jobTemplate"]["spec"]["template"]
    return found


def containers() -> Iterator[tuple[str, Object]]:
    """Yield every container with the name of its pod."""
    for name, pod in pods().items():
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            yield name, container


def services(name: str) -> dict[str, Object]:
    """Return the services of a compose file."""
    (document,) = documents(DEPLOY / name)
    found: dict[str, Object] = document["services"]
    return found
