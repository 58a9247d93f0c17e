from pathlib import Path

import pytest

from foundation.errors import SettingsError
from serve.preparation import prepare_registry
from serve.settings import ServeConfig
from tests.fakes import tiny_model


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
