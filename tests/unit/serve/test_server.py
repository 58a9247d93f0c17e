from pathlib import Path

import pytest

from foundation.errors import Busy, ExitStatus, SettingsError
from serve.server import bind, parse_address, prepare_registry
from serve.settings import ServeConfig
from tests.fakes import tiny_model


@pytest.mark.parametrize("listen", ["0.0.0.0:8000", "[::]:8000", "10.1.2.3:8000", "example.com:8000", ":8000"])
def test_nobody_else_is_let_in_without_keys(listen: str) -> None:
    """Whatever is not loopback is refused before anything starts."""
    with pytest.raises(SettingsError, match="keys"):
        parse_address(listen)


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:http"])
def test_an_address_needs_a_port(listen: str) -> None:
    """The message shows one."""
    with pytest.raises(SettingsError, match="HOST:PORT"):
        parse_address(listen)


def test_a_busy_port_is_named() -> None:
    """Exit status 75: try again, or elsewhere."""
    with bind("127.0.0.1:0") as taken, pytest.raises(Busy) as busy:
        bind(f"127.0.0.1:{taken.getsockname()[1]}")

    assert busy.value.exit_status is ExitStatus.BUSY
    assert "--listen" in str(busy.value)


def test_the_registry_begins_with_the_model_named_and_keeps_what_it_has(tmp_path: Path) -> None:
    """The second start serves what is live, whatever --model says."""
    first, second = tiny_model(tmp_path / "First model"), tiny_model(tmp_path / "second", seed=1)
    begun = prepare_registry(ServeConfig(data=tmp_path / "data", model=first))

    again = prepare_registry(ServeConfig(data=tmp_path / "data", model=second))

    assert begun.base == "First-model"
    assert again == begun
    with pytest.raises(SettingsError, match="First-model"):
        prepare_registry(ServeConfig(data=tmp_path / "data", name="another"))


def test_without_a_model_there_is_nothing_to_serve(tmp_path: Path) -> None:
    """The message says how to begin."""
    with pytest.raises(SettingsError, match="no live model"):
        prepare_registry(ServeConfig(data=tmp_path))


def test_a_name_that_could_confuse_is_refused(tmp_path: Path) -> None:
    """Names stand in URLs, logs and files."""
    with pytest.raises(SettingsError, match="name"):
        prepare_registry(ServeConfig(data=tmp_path / "data", model=tiny_model(tmp_path / "m"), name="../x y"))
