"""Killed at any moment, a run leaves the last published set; the next one makes what an undisturbed one would have."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from etl.run import run_etl
from etl.schema import TABLES, table_files
from etl.settings import EtlConfig
from foundation.report import RunReport
from receiver.importing import import_files
from tests.scale import times

pytestmark = pytest.mark.integration

FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp"
FIRST = sorted(FIXTURES.glob("openinference-openai-agents/tool_call*.pb"))
SECOND = sorted(FIXTURES.glob("traceloop-openai/tool_*.pb"))
NUM_KILLS = times(short=3, long=100)
SEED = int(os.environ.get("SPANLOOP_SEED", "20261121"))


def run(data: Path) -> None:
    """Run the ETL undisturbed, one trace at a time, so that it writes many parts."""
    config = EtlConfig(data=data, complete_after=0, bucket_spans=1)
    run_etl(config, RunReport("etl run", {}), dry_run=False)


def start(data: Path) -> "subprocess.Popen[bytes]":
    """Start the same run as a process."""
    arguments = ["etl", "run", "--data", str(data), "--complete-after", "0", "--bucket-spans", "1"]
    command = [sys.executable, "-m", "spanloop", *arguments]
    own = {name: value for name, value in os.environ.items() if not name.startswith("SPANLOOP_")}
    return subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def published(data: Path) -> dict[str, bytes]:
    """Return the content of every published file."""
    return {path.name: path.read_bytes() for table in TABLES for path in table_files(data, table)}


@pytest.mark.timeout(times(short=300, long=3600))
def test_sigkill_at_any_point_leaves_a_whole_set(tmp_path: Path) -> None:
    """What readers see is the set before or the set after, never anything between; instants are drawn, seed printed."""
    start_point, undisturbed = tmp_path / "start", tmp_path / "undisturbed"
    import_files(start_point, FIRST)
    run(start_point)
    import_files(start_point, SECOND)
    before = published(start_point)
    shutil.copytree(start_point, undisturbed)
    begun = time.monotonic()
    assert start(undisturbed).wait() == 0
    whole_s = time.monotonic() - begun
    after = published(undisturbed)
    assert before != after
    print(f"SPANLOOP_SEED={SEED}")
    random = Random(SEED)

    for number in range(NUM_KILLS):
        data = tmp_path / f"killed-{number}"
        shutil.copytree(start_point, data)
        process = start(data)
        time.sleep(random.uniform(whole_s / 4, whole_s))
        process.send_signal(signal.SIGKILL)
        process.wait()

        assert published(data) in (before, after)
        run(data)
        assert published(data) == after
        shutil.rmtree(data)
