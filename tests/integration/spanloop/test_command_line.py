"""The console script as a scheduler meets it: exit statuses, and what is on stdout and on stderr."""

import errno
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from foundation.errors import ExitStatus
from spanloop import cli
from tests.commands import spanloop as run_here
from tests.scale import times

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
        (("receiver", "prune", "--retain-gb", "inf"), "--retain-gb"),
        (("receiver", "run", "--retain-gb", "inf"), "finite"),
        (("receiver", "keys", "revoke"), "spanloop receiver keys revoke needs ID"),
        (("serve", "promote"), "spanloop serve promote needs CHECKPOINT"),
        (("receiver", "backup"), "--out"),
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


COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "sql": (("STATEMENT",), ("STATEMENT", "--format", "VALUE")),
    "reward": (
        ("TRACE", "1"),
        ("VALUE", "VALUE"),
        ("TRACE", "1", "--span-id", "VALUE"),
        ("TRACE", "1", "--endpoint", "VALUE"),
    ),
    "doctor": ((), ("--json",)),
    "receiver status": ((), ("--json",), ("--receiver", "VALUE"), ("--receiver", "VALUE", "--key-file", "PATH")),
    "receiver import": (("PATH",), ("PATH", "PATH"), ()),
    "import": (("langfuse", "PATH"), ("VALUE", "PATH"), ("openai", "PATH", "PATH"), ("mlflow",)),
    "receiver backup": (("--out", "PATH"), ()),
    "receiver verify": ((),),
    "receiver prune": (("--retain-days", "VALUE"), ("--retain-gb", "VALUE", "--dry-run"), ()),
    "receiver keys list": ((),),
    "receiver keys create": (("--name", "VALUE"), ("--name", "VALUE", "--project", "VALUE"), ("--scope", "VALUE")),
    "receiver keys revoke": (("VALUE",), ()),
    "serve status": ((), ("--json",), ("--control", "VALUE"), ("--control", "VALUE", "--key-file", "PATH")),
    "serve promote": (("PATH",), ("PATH", "--json"), ()),
    "serve rollback": ((), ("--json",)),
    "serve canary": (("PATH",), ("PATH", "--share", "VALUE"), ("PATH", "--shares", "VALUE")),
    "serve run": (
        ("--model", "PATH", "--listen", "127.0.0.1:0"),
        ("--listen", "VALUE"),
        ("--model", "PATH", "--listen", "127.0.0.1:0", "--upstream", "VALUE"),
        ("--listen", "127.0.0.1:0", "--redact", "VALUE"),
        ("--listen", "127.0.0.1:0", "--otlp-endpoint", "VALUE"),
    ),
    "etl run": (("--since", "VALUE"), ("--reward-sql", "PATH"), ("--dry-run", "--outcome", "VALUE"), ()),
    "etl prune": (("--retain-days", "VALUE"), ("--retain-days", "1", "--dry-run")),
    "etl export": (("--to", "PATH"), ("--format", "VALUE"), ("--what", "rewards", "--format", "jsonl")),
    "forget": (("--user", "VALUE"), ("--trace", "TRACE", "--exports", "PATH"), ("--attribute", "VALUE"), ()),
    "prompts list": ((), ("VALUE",)),
    "prompts diff": (("VALUE", "VALUE"), ()),
    "prompts keep": (("PATH",), ("PATH", "--agent", "VALUE"), ("VALUE", "PATH")),
    "prompts promote": (("VALUE",), ("VALUE", "--agent", "VALUE")),
    "prompts canary": (("VALUE",), ("VALUE", "--share", "VALUE")),
    "prompts rollback": ((), ("VALUE",)),
    "replay": (("--candidate", "VALUE"), ("--candidate", "PATH"), ("--candidate", "PATH", "--prompt", "PATH")),
    "nightly": (("--dry-run",), ("--dry-run", "--model", "PATH")),
    "receiver run": (("--grpc", "VALUE"), ("--memory-limit", "VALUE"), ("--http", "VALUE", "--grpc", "nowhere:1")),
    "receiver forget": (("--traces", "PATH"), ("--traces", "PATH", "--dry-run"), ()),
    "backup": (("--out", "PATH"), ("--out", "PATH", "--json"), ()),
    "distill": (
        ("--dry-run",),
        ("--dry-run", "--students", "PATH"),
        ("--dry-run", "--since", "VALUE", "--agent", "VALUE"),
        ("--dry-run", "--threshold", "VALUE"),
        ("--model", "PATH", "--out", "PATH"),
        ("--judge", "VALUE", "--dry-run"),
    ),
    "page": (
        ("--listen", "nowhere.invalid:1", "--session-hours", "VALUE"),
        ("--listen", "nowhere.invalid:1", "--tls-cert", "PATH", "--tls-key", "PATH"),
        ("--listen", "nowhere.invalid:99999"),
    ),
    "up": (("--listen", "VALUE", "--nothing", "VALUE"),),
    "demo": (("--nights", "-1"), ("--task", "VALUE", "--coin", "7"), ("--problems", "VALUE", "--heldout", "1")),
    "etl publish": ((), ("--json",)),
    "etl inspect": (("TRACE",), ("VALUE",), ("TRACE", "--project", "VALUE", "--width", "VALUE")),
    "etl stats": ((), ("--width", "VALUE")),
    "etl suggest": ((),),
    "etl forget": (("--traces", "PATH"), ("--traces", "PATH", "--dry-run"), ()),
    "train run": (("--model", "PATH"), ("--model", "PATH", "--recipe", "VALUE"), ()),
    "train evaluate": (("--checkpoint", "PATH"), ()),
    "train inspect": (("PATH",), ("PATH", "--png", "PATH"), ()),
    "serve pause": ((), ("--at-most-s", "VALUE")),
    "serve resume": ((), ("--json",)),
    "serve handover": ((), ("--shares", "VALUE"), ("--end",)),
    "etl push": ((), ("--store", "VALUE"), ("--store", "PATH")),
    "etl pull": ((), ("--store", "VALUE")),
    "receiver push": ((), ("--store", "VALUE")),
    "store push": ((), ("--store", "VALUE")),
    "store pull": ((), ("--store", "VALUE")),
    "store list": ((), ("--store", "VALUE"), ("--store", "PATH")),
    "store verify": ((), ("--store", "VALUE")),
    "store prune": (("--retain-days", "30"), ("--store", "VALUE"), ("--retain-days", "VALUE")),
    "prompts optimise": (("--agent", "VALUE"), ("--agent", "VALUE", "--reflect", "VALUE"), ()),
}
"""Commands and the arguments they are tried with; words in capitals stand for what a fuzzer puts there."""

NEEDING: dict[str, tuple[int, str]] = {
    "sql|select 1": (0, "no such directory"),
    "receiver status": (0, "no such directory"),
    "etl run|--dry-run": (0, "no such directory"),
    "etl run": (0, "no such directory"),
    "receiver verify": (2, "there is no directory"),
    "receiver prune|--retain-days|2": (2, "there is no directory"),
    "receiver keys list": (2, "there is no directory"),
    "receiver keys revoke|x": (2, "there is no directory"),
    "receiver backup|--out|OUT": (2, "there is no directory"),
    "receiver forget|--traces|FILE": (2, "there is no directory"),
    "backup|--out|OUT": (2, "there is no directory"),
    "forget|--user|alice": (2, "there is no directory"),
    "forget|--user|alice|--dry-run": (2, "there is no directory"),
    "etl prune|--retain-days|1": (2, "there is no directory"),
    "etl publish": (2, "there is no directory"),
    "etl stats": (2, "there is no directory"),
    "etl suggest": (2, "there is no directory"),
    "etl export|--to|OUT": (2, "there is no directory"),
    "etl forget|--traces|FILE": (2, "there is no directory"),
    "etl inspect|abababab": (2, ""),
    "serve promote|OUT": (2, "Serve one first"),
    "serve rollback": (2, "Serve one first"),
    "serve pause": (0, "no gateway runs"),
    "serve status": (0, ""),
    "prompts list": (0, "no prompt is kept"),
    "distill|--dry-run": (2, "--data"),
    "replay|--candidate|http://127.0.0.1:9/v1": (2, "--data"),
    "nightly|--dry-run": (2, ""),
    "train evaluate|--checkpoint|OUT": (1, "is not a checkpoint"),
    "doctor": (0, ""),
}
"""Commands that read what is in DATA: the status they end with where there is none, and what they say."""

WITHOUT_DATA = {"train inspect"}
"""Commands that are about one path and have no DATA."""

VALUES = (
    "", "-", "--", "lots", "0", "-1", "nan", "inf", "1e400", "9" * 400, "x" * 70_000, "\u00e4\n\t", "\udcff",
    "'; drop", "../..", "\x1b[2J", "http://", "http://[", "host:99999", "select",
)  # fmt: skip
STATEMENTS = (
    "select 1", "select", "drop table spans", "from spans", "select 'infinity'::timestamp, interval 1 day, 1 a, 2 a",
    "from spans tablesample 10%", "select 1; select 2", "select " + "(" * 3000, "from '/etc/passwd'", "select \udcff",
    "from rejected",
    "select * from range(3) t(i) where i = ?", "-- nothing", "select error('x')",
)  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Directories that are missing, empty, a file, somebody else's, damaged, or no place for a directory."""
    root = tmp_path_factory.mktemp("places")
    (root / "file").write_text("hello")
    (root / "list.json").write_text("[]")
    (root / "object.json").write_text('{"traces": 5, "version": 99, "keys": {}}')
    (root / "empty").mkdir()
    (root / "link").symlink_to(root / "nowhere")
    foreign = root / "foreign"
    for path in ("spans/2026-01-01.duckdb", "spans/2026-99-99.duckdb", "wal/x.seg", "keys.json", "receiver.json"):
        (foreign / path).parent.mkdir(parents=True, exist_ok=True)
        (foreign / path).write_bytes(b"\x00not what you think" * 500)
    (foreign / "dataset").mkdir()
    (foreign / "dataset" / "tables.json").write_text("[]")
    (root / "odd").mkdir()
    (root / "odd" / "receiver.lock").mkdir()
    (root / "odd" / "keys.json").mkdir()
    (root / "odd" / "spans").write_text("no directory")
    names = ["file", "list.json", "object.json", "empty", "link", "foreign", "odd", "missing/deep"]
    return [*(str(root / name) for name in names), "/proc/nothing", "/dev/null", "x" * 5000, str(root / ("y" * 300))]


def test_every_command_is_tried() -> None:
    """One that is new has lines of its own here."""
    assert {*_leaves(cli.app, "")} == {*COMMANDS}


def _leaves(app: App, name: str) -> Iterator[str]:
    below = [each for each in app if not each.startswith("-")]
    for each in below:
        yield from _leaves(app[each], f"{name} {each}".strip())
    if not below:
        yield name


@pytest.mark.parametrize("line", NEEDING)
def test_a_directory_that_is_not_there_is_named_and_not_made(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with a typo must not pass for a user who is forgotten or a day without damage, nor leave a directory."""
    monkeypatch.setattr("receiver.reading.find.PATIENCE_S", 0.1)
    (tmp_path / "file").write_text("[]")
    words = {"OUT": str(tmp_path / "out"), "FILE": str(tmp_path / "file")}
    command, *arguments = line.split("|")
    status, said = NEEDING[line]

    result = run_here(
        *command.split(), *(words.get(word, word) for word in arguments), "--data", str(tmp_path / "typo")
    )

    assert (result.returncode, said in result.stdout + result.stderr) == (status, True), result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 75), (errno.EIO, 1), (errno.EFBIG, 1)])
def test_a_disk_that_refuses_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    """Whatever was being written: such an error names no file, and is no bug of ours."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "prompt").write_text("be good")
    prompt = str(tmp_path / "prompt")
    monkeypatch.setattr("foundation.files.os.pwrite", refuse)
    result = run_here("prompts", "keep", prompt, "--agent", "a", "--base", prompt, "--data", str(tmp_path))

    assert (result.returncode, "Traceback" in result.stderr) == (status, False), result.stderr
    assert os.strerror(number) in result.stderr


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An error of another kind without a file says nothing to whoever runs the command."""

    def stumble(*_: object) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    (tmp_path / "prompt").write_text("be good")
    monkeypatch.setattr("foundation.files.os.pwrite", stumble)
    result = run_here("prompts", "keep", str(tmp_path / "prompt"), "--agent", "a", "--data", str(tmp_path))

    assert (result.returncode, "Traceback" in result.stderr) == (1, True)


@pytest.mark.timeout(times(short=300, long=7200))
def test_no_command_line_ends_in_a_traceback(
    places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is given, the command says what is wrong in its own words, or does what it can."""
    monkeypatch.setattr("foundation.web.http.LOOK_EVERY_S", 0.2)
    monkeypatch.setattr("receiver.reading.find.PATIENCE_S", 0.1)
    monkeypatch.setattr("receiver.days.held.OPEN_PATIENCE_S", 0.1)
    seed = int(os.environ.get("SEED", "7"))
    chance = random.Random(seed)
    num_lines = times(short=200, long=5_000)
    for number in range(num_lines):
        command = chance.choice([*COMMANDS])
        words = {
            "VALUE": lambda: chance.choice(VALUES),
            "STATEMENT": lambda: chance.choice(STATEMENTS),
            "PATH": lambda: chance.choice([*places, str(tmp_path / "out")]),
            "TRACE": lambda: "ab" * 16,
        }
        arguments = [words[word]() if word in words else word for word in chance.choice(COMMANDS[command])]
        data = chance.choice(places)
        if command in {"receiver run", "page"}:  # never one that could run
            data = chance.choice([place for place in places if not place.endswith(("empty", "deep"))])
        line = [*command.split(), *arguments, *(() if command in WITHOUT_DATA else ("--data", data))]
        result = run_here(*line)
        shown = (f"seed {seed}, line {number}", [word[:80] for word in line], result.stderr[-2000:])
        assert "Traceback" not in result.stderr, shown
        assert result.returncode in {*ExitStatus}, shown
        assert result.returncode == 0 or result.stderr, shown
