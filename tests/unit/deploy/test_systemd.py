"""The units, against what the processes they start do and need."""

from configparser import ConfigParser
from pathlib import Path

import pytest

from foundation.errors import ExitStatus
from serve.engines.engine import STOP_TIMEOUT_S
from serve.server import FEW_FILES, FLUSH_TIMEOUT_S, STOP_GRACE_S
from serve.settings import ServeConfig

UNITS = Path(__file__).parents[3] / "deploy" / "systemd"


def service(name: str) -> dict[str, list[str]]:
    """Return what a unit says of its service, a list a key."""
    found: dict[str, list[str]] = {}
    lines = (UNITS / f"spanloop-{name}.service").read_text().partition("[Service]")[2].partition("\n[")[0]
    for line in lines.splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_answers_in_flight_end_before_the_engine_does() -> None:
    """SIGTERM goes to the gateway alone, and it has the time it takes to end."""
    found = service("gateway")

    assert found["KillMode"] == ["mixed"]
    assert int(found["TimeoutStopSec"][0]) > STOP_GRACE_S + FLUSH_TIMEOUT_S + STOP_TIMEOUT_S
    assert found["Type"] == ["notify"]
    assert int(found["TimeoutStartSec"][0]) >= ServeConfig().start_timeout_s
    assert int(found["LimitNOFILE"][0]) >= FEW_FILES


def test_what_would_only_be_repeated_is_not_tried_again() -> None:
    """Wrong settings and refusals of a gate; a lock that another process holds is."""
    for name, more in (("gateway", set[str]()), ("nightly", {"1"})):
        refused = set(service(name)["RestartPreventExitStatus"][0].split())
        assert refused == {str(int(ExitStatus.SETTINGS)), str(int(ExitStatus.REFUSED))} | more
        assert str(int(ExitStatus.BUSY)) not in refused


@pytest.mark.parametrize("name", ["gateway", "nightly"])
def test_models_find_a_place_for_what_they_compile(name: str) -> None:
    """The home directory is closed to them: HOME is a cache directory of theirs. What is written is private."""
    found = service(name)

    assert found["ProtectHome"] == ["yes"]
    homes = dict(pair.split("=") for line in found["Environment"] for pair in line.split())
    assert homes["HOME"] == homes["XDG_CACHE_HOME"] == f"/var/cache/{found['CacheDirectory'][0]}"
    assert (found["UMask"], found["StateDirectoryMode"]) == (["0077"], ["0700"])
    assert found["WorkingDirectory"] == ["/var/lib/spanloop"]


def test_units_can_be_read() -> None:
    """Every line is a key and a value below a section."""
    for path in (*UNITS.glob("*.service"), *UNITS.glob("*.timer")):
        parser = ConfigParser(strict=False, interpolation=None)
        parser.read_string(path.read_text())
        assert parser.sections(), path


def test_the_user_and_the_directories_are_the_units_own() -> None:
    """As sysusers and tmpfiles make them before the first start."""
    (line,) = [line for line in (UNITS / "sysusers.d-spanloop.conf").read_text().splitlines() if line[0] != "#"]
    made = [line.split() for line in (UNITS / "tmpfiles.d-spanloop.conf").read_text().splitlines() if line[0] != "#"]
    modes = {path: mode for _, path, mode, *_ in made}

    assert line.split()[:2] == ["u", "spanloop"]
    for name in ("receiver", "gateway", "nightly"):
        found = service(name)
        assert found["User"] == ["spanloop"]
        assert modes[f"/var/lib/{found['StateDirectory'][0]}"] == found["StateDirectoryMode"][0]
        (secrets,) = found["EnvironmentFile"]
        assert secrets == f"-/etc/spanloop/{name}.env"
        assert modes["/etc/spanloop"] == "0750"
