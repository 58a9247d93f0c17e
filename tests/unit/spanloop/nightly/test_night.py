"""A night is kept on disk from its first moment, and what it began with stays."""

from pathlib import Path

import pytest

from foundation.errors import ExitStatus, SettingsError
from serve.change import registry
from spanloop.nightly.night import Night, live_model, settings_digest
from spanloop.nightly.settings import NightlyConfig
from tests import nights


@pytest.fixture
def config(tmp_path: Path) -> NightlyConfig:
    nights.serve(tmp_path / "data", tmp_path / "base")
    nights.arrive(tmp_path / "data", "spans")
    nights.etl(tmp_path / "data")
    return NightlyConfig(data=tmp_path / "data")


def test_a_night_goes_on_with_what_it_began_with(config: NightlyConfig, tmp_path: Path) -> None:
    """Steps, and the model, though another is live by now."""
    night = Night.resume(config)
    night.finish("etl", {"window": 1})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    registry.promote(config.data, tmp_path / "other")
    assert live_model(config.data) == tmp_path / "other"

    again = Night.resume(config)

    assert (again.done, again.model, again.began_time) == ({"etl": {"window": 1}}, tmp_path / "base", night.began_time)


def test_a_checkpoint_that_is_gone_is_trained_again(config: NightlyConfig, tmp_path: Path) -> None:
    """What came of the ETL still holds."""
    night = Night.resume(config)
    night.finish("etl", {})
    night.finish("train", {"checkpoint": str(tmp_path / "gone")})

    assert list(Night.resume(config).done) == ["etl"]


def test_a_model_that_was_wrong_can_be_named_anew_before_the_training(config: NightlyConfig, tmp_path: Path) -> None:
    """After it, the checkpoint is of the model it was made from."""
    Night.resume(config)
    other = config.model_copy(update={"model": tmp_path / "other"})

    night = Night.resume(other)

    assert night.model == tmp_path / "other"


def test_the_same_data_is_nothing_new_unless_a_refusal_was_mended(config: NightlyConfig) -> None:
    """A refused night would only be refused again, with the same settings."""
    night = Night.resume(config)
    night.finish("etl", {})
    assert not night.has_nothing_new()
    night.close(ExitStatus.REFUSED)

    again = Night.resume(config)
    again.finish("etl", {})
    assert again.has_nothing_new()

    mended = Night.resume(config.model_copy(update={"margin": 0.2}))
    assert not mended.has_nothing_new()
    nights.arrive(config.data, "more spans")
    nights.etl(config.data)
    again.finish("etl", {})
    assert not again.has_nothing_new()


def test_settings_are_those_of_the_stages_too(config: NightlyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment, in whatever order; others' variables are none."""
    before = settings_digest(config, Path("m"))
    monkeypatch.setenv("OTHER", "1")
    assert settings_digest(config, Path("m")) == before
    monkeypatch.setenv("SPANLOOP_TRAIN_RUN_EPOCHS", "2")
    assert settings_digest(config, Path("m")) != before


def test_a_live_model_that_is_gone_is_said(config: NightlyConfig, tmp_path: Path) -> None:
    """And one that never was."""
    (tmp_path / "base" / "config.json").unlink()
    (tmp_path / "base").rmdir()

    with pytest.raises(SettingsError, match="is gone"):
        live_model(config.data)
    with pytest.raises(SettingsError, match="no live checkpoint"):
        live_model(tmp_path / "nowhere")
