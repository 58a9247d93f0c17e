"""The command, on a store the receiver filled: windows, late spans, locks, reports."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from etl.schema import table_files
from foundation.files import exclusive
from receiver.intake.importing import import_files
from tests.commands import spanloop
from tests.small_disk import small_disk

pytestmark = pytest.mark.integration

FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp"
FIRST = FIXTURES / "openinference-openai-agents" / "tool_call.pb"
SECOND = FIXTURES / "otel-openai-legacy" / "tool_call.pb"
SECOND_LOGS = FIXTURES / "otel-openai-legacy" / "tool_call.logs.pb"


def etl_run(data: Path, *arguments: str) -> dict[str, Any]:
    """Run the ETL and return its report."""
    result = spanloop("etl", "run", "--data", str(data), "--json", *arguments)
    assert result.returncode == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def rows(data: Path, table: str) -> pl.DataFrame:
    """Return a published table."""
    return pl.read_parquet(table_files(data, table))


def dataset(data: Path) -> dict[str, bytes]:
    """Return every published file by its name."""
    files = [*(data / "dataset").rglob("*.parquet"), data / "dataset" / "watermark.json"]
    return {path.name: path.read_bytes() for path in files}


def test_a_run_publishes_what_the_receiver_stored(tmp_path: Path) -> None:
    """Spans in are spans used, ignored, waiting or rejected; the report is kept; nothing new is nothing to do."""
    import_files(tmp_path, [FIRST, SECOND, SECOND_LOGS])

    report = etl_run(tmp_path)

    spans = report["spans"]
    parts = [*spans["used"].values(), *spans["ignored"].values(), *spans["rejected"].values(), spans["waiting"]]
    assert sum(parts) == spans["in"] == 12
    assert report["calls"] == {"in": 4, "transitions": 4, "other_choices": 0, "rejected": {}}
    assert rows(tmp_path, "transitions").height == 4
    assert (tmp_path / "dataset" / "runs" / f"{report['run_id']}.json").exists()
    before = dataset(tmp_path)

    again = etl_run(tmp_path)

    assert again["published"] is False
    assert dataset(tmp_path) == before


def test_the_same_window_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """Also when it is named by time."""
    import_files(tmp_path, [FIRST, SECOND, SECOND_LOGS])
    etl_run(tmp_path)
    before = dataset(tmp_path)

    report = etl_run(tmp_path, "--since", "2020-01-01")

    assert report["published"] is True
    assert dataset(tmp_path) == before


def test_log_records_that_come_later_complete_their_calls(tmp_path: Path) -> None:
    """Content in log events arrives by another endpoint: the trace is computed anew, as a later revision."""
    import_files(tmp_path, [SECOND])
    etl_run(tmp_path)
    early = rows(tmp_path, "episodes")
    import_files(tmp_path, [SECOND_LOGS])

    etl_run(tmp_path)

    late = rows(tmp_path, "episodes")
    assert early.select("episode_id", "num_transitions").rows() == [(early["episode_id"][0], 0)]
    assert late.select("episode_id", "num_transitions").rows() == [(early["episode_id"][0], 2)]
    assert late["revision"][0] > early["revision"][0]


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """It says what it would do."""
    import_files(tmp_path, [FIRST])

    report = etl_run(tmp_path, "--dry-run")

    assert report["num_rows"]["transitions"] == 2
    assert list((tmp_path / "dataset").rglob("*.*")) == []


def test_a_second_run_at_once_is_told_who_runs(tmp_path: Path) -> None:
    """Exit 75: try again later."""
    with exclusive(tmp_path / "dataset" / "lock", purpose="spanloop etl run"):
        result = spanloop("etl", "run", "--data", str(tmp_path))

    assert result.returncode == 75
    assert "spanloop etl run (pid" in result.stderr


def test_a_full_disk_leaves_what_is_published(tmp_path: Path) -> None:
    """However many of the parts still fit: it is said in a line, and the next run with room makes it good."""
    with small_disk(tmp_path / "dataset", 64) as place:
        import_files(tmp_path, [FIRST])
        etl_run(tmp_path)
        before = dataset(tmp_path)
        import_files(tmp_path, [SECOND, SECOND_LOGS])
        for room in (0, 8, 20):
            (place / "ballast").unlink(missing_ok=True)
            free = shutil.disk_usage(place).free
            (place / "ballast").write_bytes(bytes(free - room * 1024))

            result = spanloop("etl", "run", "--data", str(tmp_path))

            assert result.returncode == 1
            assert f"cannot write to {place}: No space left on device" in result.stderr
            assert "Traceback" not in result.stderr
            assert before.items() <= dataset(tmp_path).items()
        (place / "ballast").unlink()

        assert etl_run(tmp_path)["published"] is True
        assert rows(tmp_path, "transitions").height == 4


def test_an_empty_store_is_nothing_to_do(tmp_path: Path) -> None:
    """Exit 0."""
    report = etl_run(tmp_path)

    assert report["spans"]["in"] == 0
    assert report["published"] is False


def test_inspect_draws_the_tree_of_a_trace(tmp_path: Path) -> None:
    """Its first digits are enough; the tool call says which step caused it."""
    import_files(tmp_path, [FIRST])
    etl_run(tmp_path)
    trace_id = rows(tmp_path, "transitions")["trace_id"][0]

    result = spanloop("etl", "inspect", "--data", str(tmp_path), trace_id[:8], "--width", "200")

    assert result.returncode == 0, result.stderr
    assert "step 0" in result.stdout
    assert "tool calculator" in result.stdout
    assert "(name_and_arguments)" in result.stdout


def test_inspect_of_an_unknown_trace_says_how_to_find_one(tmp_path: Path) -> None:
    """Exit 2, with the query that lists traces."""
    import_files(tmp_path, [FIRST])

    result = spanloop("etl", "inspect", "--data", str(tmp_path), "ffff")

    assert result.returncode == 2
    assert "no trace begins with ffff" in result.stderr


def test_export_writes_messages_as_json(tmp_path: Path) -> None:
    """One line a call, in the canonical shape."""
    import_files(tmp_path, [FIRST])
    etl_run(tmp_path)

    result = spanloop("etl", "export", "--data", str(tmp_path), "--what", "llm_calls")

    assert result.returncode == 0, result.stderr
    calls = [json.loads(line) for line in result.stdout.splitlines()]
    expected = json.loads(FIRST.with_suffix("").with_suffix(".expected.json").read_text())
    assert [call["output"] for call in calls] == [call["output"] for call in expected["llm_calls"]]
    assert [call["tools"] for call in calls] == [call["tools"] for call in expected["llm_calls"]]


def test_export_as_parquet_needs_a_file(tmp_path: Path) -> None:
    """Binary data does not go to a terminal."""
    result = spanloop("etl", "export", "--data", str(tmp_path), "--format", "parquet")

    assert result.returncode == 2
    assert "--to" in result.stderr
