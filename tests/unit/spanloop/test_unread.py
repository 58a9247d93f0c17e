"""Tests of the search for settings nobody reads."""

from pathlib import Path

import pytest
from cyclopts import App

from foundation.errors import SettingsError
from spanloop.unread import check_environment, check_file, find_settings_file


@pytest.fixture
def app() -> App:
    """`bake bread run --oven-heat`, and `bake taste --times`."""
    app, bread = App(name="bake"), App(name="bread")
    app.command(bread)

    @bread.command
    def run(*, oven_heat: int = 200) -> None: ...

    @app.command
    def taste(*, times: int = 1) -> None: ...

    return app


def settings(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "spanloop.toml"
    path.write_text(text)
    return path


def test_known_settings_pass(app: App, tmp_path: Path) -> None:
    """Underscores and dashes are alike."""
    check_file(settings(tmp_path, "[bread.run]\noven_heat = 210\n[taste]\ntimes = 2\n"), app)


@pytest.mark.parametrize(
    ("text", "problem", "nearest"),
    [
        ("[bread.run]\noven_heet = 1\n", r"no setting bread\.run\.oven_heet", r"bread\.run\.oven_heat"),
        ("[bred.run]\noven_heat = 1\n", "no setting bred", "bread"),
        ("[bread.rn]\noven_heat = 1\n", r"no setting bread\.rn", r"bread\.run"),
    ],
)
def test_a_typo_names_the_nearest_setting(app: App, tmp_path: Path, text: str, problem: str, nearest: str) -> None:
    """In a key, in a stage, in a verb: each would otherwise change nothing and say nothing."""
    with pytest.raises(SettingsError, match=rf"{problem}\nhint: Did you mean {nearest}\?"):
        check_file(settings(tmp_path, text), app)


def test_a_file_that_is_not_toml_is_named(app: App, tmp_path: Path) -> None:
    """The message has the path and the line."""
    with pytest.raises(SettingsError, match=r"spanloop\.toml is not TOML: .*line 1"):
        check_file(settings(tmp_path, "[bread\n"), app)


def test_a_command_is_a_table(app: App, tmp_path: Path) -> None:
    """`bread = 1` sets nothing."""
    with pytest.raises(SettingsError, match="bread is a command"):
        check_file(settings(tmp_path, "bread = 1\n"), app)


def test_a_misspelt_variable_names_the_nearest(app: App) -> None:
    """Variables of other programs and of the exporter are none of our business."""
    check_environment({"SPANLOOP_BREAD_RUN_OVEN_HEAT": "1", "SPANLOOP_EXPORTER_OTLP_ENDPOINT": "x", "PATH": ""}, app)

    with pytest.raises(SettingsError, match="Did you mean SPANLOOP_BREAD_RUN_OVEN_HEAT"):
        check_environment({"SPANLOOP_BREAD_RUN_OVEN_HEET": "1"}, app)


def test_the_nearest_file_above_is_found(tmp_path: Path) -> None:
    """As the command line itself looks for it."""
    path = settings(tmp_path, "")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)

    assert find_settings_file(below) == path
