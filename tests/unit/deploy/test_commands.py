"""What images, compose files and pods run are commands of ours with flags that they take, under settings we read."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from foundation.errors import SettingsError
from spanloop.cli import app
from spanloop.unread import check_environment
from tests.unit.deploy.files import DEPLOY, containers, services

COMPOSE = ("compose.yaml", "compose.scale.yaml")


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every command line, with where it stands."""
    for line in re.findall(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        yield "Dockerfile", json.loads(line)
    for file in COMPOSE:
        for name, service in services(file).items():
            command = service.get("command")
            if command is None or not service["image"].startswith("spanloop"):
                continue
            script = "\n".join(command).replace("$$", "$")
            if "spanloop " in script:
                command = shlex.split(script.partition("spanloop ")[2].replace("\\\n", " "))
            yield f"{file}: {name}", command
    for pod, container in containers():
        yield f"{pod}: {container['name']}", container["args"]


def environments() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the environment of every container."""
    for file in COMPOSE:
        for name, service in services(file).items():
            yield f"{file}: {name}", service.get("environment", {})
    for pod, container in containers():
        yield pod, {each["name"]: str(each.get("value")) for each in container.get("env", ())}


def parse(command: list[str]) -> Any:
    """Return what the command line makes of a command, which is not run."""
    return app.parse_args(command, print_error=False, exit_on_error=False)


@pytest.mark.parametrize(
    ("where", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_command_is_one_of_ours_with_flags_it_takes(where: str, command: list[str]) -> None:
    """A flag that was renamed would be seen when a pod does not start."""
    parse(command)


def test_a_flag_that_is_none_is_seen() -> None:
    """So that the test above says something."""
    with pytest.raises(Exception, match="--grcp"):
        parse(["receiver", "run", "--grcp", "0.0.0.0:4317"])


def test_each_variable_is_one_that_we_read() -> None:
    """A command refuses to start under a SPANLOOP_ variable nobody reads; Kubernetes makes some of its own unasked."""
    for where, environment in environments():
        try:
            check_environment(environment, app)
        except SettingsError as error:
            raise AssertionError(where) from error
    for pod, container in containers():
        assert container["name"], pod


def test_compose_reaches_its_own_services_and_publishes_to_this_machine_alone() -> None:
    """Every URL names a service; every port is published on loopback."""
    for file in COMPOSE:
        known = services(file)
        for service in known.values():
            hosts = re.findall(
                r"http://([a-z0-9-]+):\d+", json.dumps([service.get("environment"), service.get("command")])
            )
            assert set(hosts) <= {*known, "127.0.0.1"}
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
            assert service["cap_drop"] == ["ALL"]
            assert service["read_only"] is True
