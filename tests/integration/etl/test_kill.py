"""Killed at any moment, a run leaves the last published set; the next one makes what an undisturbed one would have."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from etl.run import run_etl
from etl.schema import TABLES, table_files
from etl.settings import EtlConfig
from foundation.report import RunReport
from receiver.importing import import_files

pytestmark = pytest.mark.integration

FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp"
FIRST = sorted(FIXTURES.glob("openinference-openai-agents/tool_call*.pb"))
SECOND = sorted(FIXTURES.glob("traceloop-openai/tool_*.pb"))
DELAYS_S = (0.9, 1.4, 1.9)
"""Of the two seconds a run takes: while it starts, while it reads and transforms, while it writes."""


def run(data: Path) -> None:
    """Run the ETL undisturbed, one trace at a time, so that it writes many parts."""
    config = EtlConfig(data=data, complete_after=0, bucket_spans=1)
    run_etl(config, RunReport("etl run", {}), dry_run=False)


def start(data: Path) -> "subprocess.Popen[bytes]":
    """Start the same run as a process."""
    arguments = ["etl", "run", "--data", str(data), "--complete-after", "0", "--bucket-spans", "1"]
    command = [sys.executable, "-m", "spanloop", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def published(data: Path) -> dict[str, bytes]:
    """Return the content of every published file."""
    return {path.name: path.read_bytes() for table in TABLES for path in table_files(data, table)}


def test_sigkill_at_any_point_leaves_a_whole_set(tmp_path: Path) -> None:
    """What readers see is the set before or the set after, never anything between."""
    undisturbed, data = tmp_path / "undisturbed", tmp_path / "killed"
    for directory in (undisturbed, data):
        import_files(directory, FIRST)
        run(directory)
        import_files(directory, SECOND)
    before = published(data)
    run(undisturbed)
    after = published(undisturbed)

    for delay_s in DELAYS_S:
        process = start(data)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert published(data) in (before, after)
    run(data)

    assert published(data) == after
    assert before != after
