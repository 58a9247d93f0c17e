"""A run divided among processes, however they are started, publishes the bytes that one process would."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from etl.exports.export import read_table
from etl.runs import division
from etl.runs.run import publish_shares, run_etl
from etl.schema import TABLES, table_files
from etl.settings import EtlConfig
from foundation.errors import SettingsError, SpanloopError
from foundation.report import RunReport
from receiver.intake.importing import import_files
from tests.near_tasks import QUESTIONS, write_near_tasks

pytestmark = [pytest.mark.integration, pytest.mark.long]

FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp"
RECORDINGS = sorted(FIXTURES.glob("openinference-openai-agents/*tool*.pb"))
NOW_US = 1_900_000_000_000_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of a few recordings, and of tasks that are near each other in different buckets."""
    data = tmp_path_factory.mktemp("shares")
    import_files(data, [*RECORDINGS, write_near_tasks(data / "near.pb")])
    return data


@pytest.fixture
def data(store: Path) -> Iterator[Path]:
    """Return the store with nothing published."""
    shutil.rmtree(store / "dataset", ignore_errors=True)
    yield store
    shutil.rmtree(store / "dataset", ignore_errors=True)


def config(data: Path, **settings: Any) -> EtlConfig:
    """Return settings by which every trace is a bucket."""
    return EtlConfig(data=data, complete_after=0, bucket_spans=1, **settings)


def run(data: Path, **settings: Any) -> dict[str, Any]:
    """Run the ETL, or a share of it, and return its report."""
    report = RunReport("etl run", {})
    run_etl(config(data, **settings), report, dry_run=False, now_us=lambda: NOW_US)
    return report.as_dict()


def publish(data: Path) -> dict[str, Any]:
    """Publish what the shares have done and return the report."""
    report = RunReport("etl publish", {})
    publish_shares(EtlConfig(data=data), report)
    return report.as_dict()


def take(data: Path) -> dict[str, bytes]:
    """Return the content of every published file, and take it all away again."""
    found = {path.name: path.read_bytes() for table in TABLES for path in table_files(data, table)}
    shutil.rmtree(data / "dataset")
    return found


def groups_of_near_tasks(data: Path) -> int:
    """Return in how many groups the tasks of `tests.near_tasks` are."""
    own = read_table(data, "episodes").filter(pl.col("service_name") == "agent", pl.col("root_name") == "work")
    assert own.height == 2 * len(QUESTIONS)
    return own["split_group"].n_unique()


def test_several_processes_publish_the_same_bytes(data: Path) -> None:
    """`--workers` is a matter of time only."""
    alone = run(data, workers=1)
    num_groups = groups_of_near_tasks(data)
    expected = take(data)

    together = run(data, workers=2)

    assert take(data) == expected
    assert len(expected) > 10
    assert num_groups == len(QUESTIONS)
    for key in ("spans", "calls", "rewards", "num_rows", "watermark"):
        assert together[key] == alone[key]
    assert [phase.get("workers") for phase in together["phases"]] == [None, 2, None]


def test_shares_publish_the_same_bytes(data: Path) -> None:
    """In whatever order they come, and whichever is run twice."""
    alone = run(data)
    expected = take(data)

    for share in ("2/3", "0/3", "2/3", "1/3"):
        assert run(data, bucket=share)["published"] is False
    together = publish(data)

    assert take(data) == expected
    for key in ("spans", "calls", "rewards", "num_rows", "watermark"):
        assert together[key] == alone[key]


def test_nothing_is_published_while_a_share_is_missing(data: Path) -> None:
    """The message says which; the share done before is not done again."""
    run(data, bucket="0/2")

    with pytest.raises(SpanloopError, match=r"buckets are not done\n.*--bucket 1/2"):
        publish(data)

    assert table_files(data, "transitions") == []
    assert run(data, bucket="0/2")["phases"][0]["done_before"] > 1
    run(data, bucket="1/2")
    assert publish(data)["published"] is True
    with pytest.raises(SpanloopError, match="holds no divided run"):
        publish(data)


def test_shares_must_agree(data: Path) -> None:
    """Of other settings, or of another number of shares, the bytes would be a mixture."""
    run(data, bucket="0/2")

    with pytest.raises(SettingsError, match="another tool_error"):
        run(data, bucket="1/2", tool_error=-0.5)
    with pytest.raises(SettingsError, match="divided into 2 shares"):
        run(data, bucket="1/3")
    with pytest.raises(SettingsError, match="no such share"):
        run(data, bucket="2/2")


def test_a_run_of_its_own_gives_a_divided_one_up(data: Path) -> None:
    """A share that was still at work finds that it no longer counts."""
    run(data, bucket="0/2")
    found = division.load(data)
    assert found is not None

    run(data)

    assert table_files(data, "transitions") != []
    with pytest.raises(SpanloopError, match="another run has taken over"):
        division.keep(data, 1, division.Processed(set(), {}, {}))


def test_spans_that_come_in_between_wait_for_the_next_run(data: Path, tmp_path: Path) -> None:
    """All shares see the window that the first of them saw."""
    shutil.copytree(data, tmp_path / "copy")
    copy = tmp_path / "copy"
    first = run(copy, bucket="0/2")
    import_files(copy, sorted(FIXTURES.glob("traceloop-openai/tool_*.pb")))

    second = run(copy, bucket="1/2")
    window = publish(copy)["window"]

    assert first["phases"][0]["window"] == second["phases"][0]["window"]
    assert run(copy)["window"]["since_seq"] == window["until_seq"] + 1


def test_shares_are_started_from_the_command_line(data: Path) -> None:
    """Two at the same time: the one that comes second waits for the plan of the first."""
    run(data)
    expected = take(data)
    command = [sys.executable, "-m", "spanloop", "etl"]
    arguments = ["--data", str(data), "--complete-after", "0", "--bucket-spans", "1"]

    shares = [subprocess.Popen([*command, "run", *arguments, "--bucket", f"{n}/2"]) for n in range(2)]
    assert [share.wait() for share in shares] == [0, 0]
    subprocess.run([*command, "publish", "--data", str(data)], check=True)

    assert take(data) == expected


def test_what_is_wrong_in_another_process_is_said_here(data: Path, tmp_path: Path) -> None:
    """A reward query that fails says so, whichever process ran it."""
    (tmp_path / "broken.sql").write_text("select nothing from nowhere")

    with pytest.raises(SpanloopError, match="broken") as alone:
        run(data, workers=1, reward_sql=tmp_path)
    with pytest.raises(SpanloopError, match="broken") as together:
        run(data, workers=2, reward_sql=tmp_path)

    assert str(together.value) == str(alone.value)
