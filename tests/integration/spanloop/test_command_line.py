"""The console script as a scheduler meets it: exit statuses, and what is on stdout and on stderr."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import ExitStatus

pytestmark = pytest.mark.integration


def spanloop(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the console script."""
    return subprocess.run(
        [sys.executable, "-m", "spanloop", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("etl", "run", "--tool-eror", "-0.2"), "Did you mean --tool-error?"),
        (("etl", "rn"), 'Did you mean "run"?'),
        (("etl", "run", "--tool-error", "5"), "tool_error = '5': Input should be less than or equal to 0"),
    ],
)
def test_wrong_options_end_with_two_and_name_the_way_out(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Nothing on stdout: a pipe gets data or nothing."""
    result = spanloop(*arguments, cwd=tmp_path)

    assert result.returncode == ExitStatus.SETTINGS
    assert said in result.stderr
    assert result.stdout == ""


def test_the_environment_is_read_and_checked(tmp_path: Path) -> None:
    """A variable sets the option it names, so a bad value is refused as on the command line; a typo is named."""
    bad = spanloop("etl", "run", cwd=tmp_path, SPANLOOP_ETL_RUN_TOOL_ERROR="7")
    typo = spanloop("etl", "run", cwd=tmp_path, SPANLOOP_ETL_RUN_TOOL_EROR="-0.2")

    assert (bad.returncode, typo.returncode) == (ExitStatus.SETTINGS, ExitStatus.SETTINGS)
    assert "tool_error = '7'" in bad.stderr
    assert "Did you mean SPANLOOP_ETL_RUN_TOOL_ERROR?" in typo.stderr


def test_the_settings_file_is_read_and_checked(tmp_path: Path) -> None:
    """A typo in spanloop.toml ends the command with its path and the nearest name."""
    (tmp_path / "spanloop.toml").write_text("[etl.run]\ntool_eror = -0.2\n")

    result = spanloop("etl", "run", cwd=tmp_path)

    assert result.returncode == ExitStatus.SETTINGS
    assert f"{tmp_path}/spanloop.toml: no setting etl.run.tool_eror" in result.stderr
    assert "Did you mean etl.run.tool_error?" in result.stderr


def test_nothing_to_do_is_done(tmp_path: Path) -> None:
    """An empty DATA directory is no failure; the report says so on stdout."""
    result = spanloop("etl", "run", "--data", str(tmp_path / "data"), "--json", cwd=tmp_path)

    assert result.returncode == ExitStatus.DONE
    assert '"status": "done"' in result.stdout


def test_doctor_looks_at_an_empty_directory(tmp_path: Path) -> None:
    """It says what to start first."""
    result = spanloop("doctor", "--data", str(tmp_path / "data"), cwd=tmp_path)

    assert result.returncode == ExitStatus.DONE
    assert "spanloop receiver run" in result.stdout
