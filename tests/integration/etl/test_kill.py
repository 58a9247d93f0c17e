"""Killed at any moment, a run leaves the last published set; the next one makes what an undisturbed one would have."""

import multiprocessing
import os
import shutil
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random

import pytest

from etl.runs.run import run_etl
from etl.schema import TABLES, table_files
from etl.settings import EtlConfig
from foundation.report import RunReport
from receiver.intake.importing import import_files
from tests.near_tasks import write_near_tasks
from tests.scale import times

pytestmark = [pytest.mark.integration, pytest.mark.long]

FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp"
FIRST = sorted(FIXTURES.glob("openinference-openai-agents/tool_call*.pb"))
SECOND = sorted(FIXTURES.glob("traceloop-openai/tool_*.pb"))
NUM_KILLS = times(short=3, long=100)
SEED = int(os.environ.get("SPANLOOP_SEED", "20261121"))


SERVER = multiprocessing.get_context("forkserver")
"""Its processes begin with the ETL imported, so that a kill meets the run and not the interpreter's start."""

SERVER.set_forkserver_preload(["etl.runs.run", "etl.runs.work", "receiver.reading.opening"])


def settings(data: Path) -> EtlConfig:
    """Return settings by which every trace is a bucket, so that a run writes many parts."""
    return EtlConfig(data=data, complete_after=0, bucket_spans=1)


def run(data: Path) -> None:
    """Run the ETL undisturbed."""
    run_etl(settings(data), RunReport("etl run", {}), dry_run=False)


def start(data: Path) -> ForkServerProcess:
    """Start the same run as a process."""
    process = SERVER.Process(target=run_etl, args=(settings(data), RunReport("etl run", {})), kwargs={"dry_run": False})
    process.start()
    return process


def published(data: Path) -> dict[str, bytes]:
    """Return the content of every published file."""
    return {path.name: path.read_bytes() for table in TABLES for path in table_files(data, table)}


@pytest.mark.timeout(times(short=300, long=3600))
def test_sigkill_at_any_point_leaves_a_whole_set(tmp_path: Path) -> None:
    """What readers see is the set before or the set after, never anything between; instants are drawn, seed printed."""
    start_point, undisturbed = tmp_path / "start", tmp_path / "undisturbed"
    import_files(start_point, FIRST)
    run(start_point)
    import_files(start_point, [*SECOND, write_near_tasks(tmp_path / "near.pb")])
    before = published(start_point)
    shutil.copytree(start_point, undisturbed)
    start(tmp_path / "nothing").join()  # the server is up
    begun = time.monotonic()
    process = start(undisturbed)
    process.join()
    whole_s = time.monotonic() - begun
    assert process.exitcode == 0
    after = published(undisturbed)
    assert before != after
    print(f"SPANLOOP_SEED={SEED}")
    random = Random(SEED)

    for number in range(NUM_KILLS):
        data = tmp_path / f"killed-{number}"
        shutil.copytree(start_point, data)
        process = start(data)
        time.sleep(random.uniform(0, whole_s))
        process.kill()
        process.join()

        assert published(data) in (before, after)
        run(data)
        assert published(data) == after
        shutil.rmtree(data)
