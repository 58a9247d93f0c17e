"""However a command ends, the process ends with the status that means it, and people read one line."""

import errno
from pathlib import Path

import pytest

from foundation import narration
from foundation.errors import Busy, ExitStatus, GateRefused, SettingsError, SpanloopError
from spanloop import sql
from spanloop.cli import main

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")  # as a process is


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where no settings lie, and leave this process's narration as it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(narration, "configure", lambda _: None)


def end(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Return the status a command line ends with."""
    monkeypatch.setattr("sys.argv", ["spanloop", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have `spanloop sql` fail so."""

    def connect(_: Path) -> None:
        raise error

    monkeypatch.setattr(sql, "connect", connect)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SpanloopError("it failed", hint="Mend it."), ExitStatus.FAILED),
        (SettingsError("it failed", hint="Mend it."), ExitStatus.SETTINGS),
        (GateRefused("it failed", hint="Mend it."), ExitStatus.REFUSED),
        (Busy("it failed", hint="Mend it."), ExitStatus.BUSY),
    ],
)
def test_an_error_of_ours_is_said_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: SpanloopError, status: ExitStatus
) -> None:
    """On stderr, without a traceback; a scheduler reads the status."""
    failing(monkeypatch, error)

    assert end(monkeypatch, "sql", "select 1") == status
    assert capsys.readouterr() == ("", "spanloop: it failed\nhint: Mend it.\n")


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), ExitStatus.DONE)])
def test_whoever_ends_it_needs_no_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int
) -> None:
    """Ctrl-C, and a reader such as `head` that has enough."""
    failing(monkeypatch, error)

    assert end(monkeypatch, "sql", "select 1") == status
    assert capsys.readouterr() == ("", "")


def test_a_path_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no matter of a path is a bug, and keeps its traceback."""
    failing(monkeypatch, OSError(errno.ENAMETOOLONG, "File name too long", "/some/where"))
    assert end(monkeypatch, "sql", "select 1") != ExitStatus.DONE
    assert "/some/where" in capsys.readouterr().err

    for error in (OSError(errno.EBADF, "Bad file descriptor"), ValueError("a bug")):
        failing(monkeypatch, error)
        with pytest.raises(type(error)):
            main()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sql",), "needs STATEMENT"),
        (("sql", "select 1", "--format", "xml"), "xml"),
        (("doctor", "--timeout-s", "0"), "--timeout-s"),
    ],
)
def test_a_wrong_setting_is_named_with_its_flag(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    """Running again will not help."""
    assert end(monkeypatch, *arguments) == ExitStatus.SETTINGS
    assert said in capsys.readouterr().err
