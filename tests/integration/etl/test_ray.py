"""Ray Data processes the same buckets by the same function: what it publishes is what one process does, to the byte."""

import pickle
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from etl.published.window import Window
from etl.runs import ray_data
from etl.runs.plan import make_plan
from etl.runs.ray_data import name_bucket, process_bucket, write_bucket
from etl.runs.work import Job, Processed
from etl.schema import TABLES, table_files
from etl.settings import EtlConfig
from foundation.errors import SpanloopError
from receiver.intake.importing import import_files
from receiver.schema import connect
from tests.near_tasks import write_near_tasks
from tests.scale import IS_LONG

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp"


def run(data: Path, *arguments: str) -> dict[str, bytes]:
    """Run the ETL as a process of its own, one trace a bucket; return every published file."""
    shutil.rmtree(data / "dataset", ignore_errors=True)
    options = ["--data", str(data), "--complete-after", "0", "--bucket-spans", "1"]
    subprocess.run([sys.executable, "-m", "spanloop", "etl", "run", *options, *arguments], check=True)
    return {path.name: path.read_bytes() for table in TABLES for path in table_files(data, table)}


@pytest.mark.skipif(not IS_LONG, reason="make test-ray")
def test_ray_publishes_the_same_bytes(tmp_path: Path) -> None:
    """On a cluster of two cores, started for the run and gone after it; the bucket files are gone too."""
    recordings = sorted(FIXTURES.glob("openinference-openai-agents/*tool*.pb"))
    import_files(tmp_path, [*recordings, write_near_tasks(tmp_path / "near.pb")])
    expected = run(tmp_path)

    found = run(tmp_path, "--ray", "local", "--workers", "2")

    assert found == expected
    assert len(found) > 10
    assert list((tmp_path / "dataset").glob(".buckets-*")) == []


def test_a_task_reads_its_bucket_itself_or_from_files_alike(tmp_path: Path) -> None:
    """The rows are the same, whoever read the spans."""
    import_files(tmp_path, sorted(FIXTURES.glob("openinference-openai-agents/tool_call*.pb")))
    config = EtlConfig(data=tmp_path, complete_after=0)
    with closing(connect(tmp_path)) as reader:
        plan = make_plan(config, reader, now_us=0)
        written = write_bucket(tmp_path, 0, plan.buckets[0], reader)
    job = Job(config, plan.window, plan.now_us)

    both = [process_bucket(job, item) for item in (name_bucket(0, plan.buckets[0]), written)]

    assert both[0] == both[1]
    assert Processed.from_json(both[0]["processed"]).num_rows["transitions"] > 0


@pytest.mark.parametrize(
    ("address", "where", "expected"),
    [
        ("auto", None, True),
        ("auto", {"http": "http://127.0.0.1:4318"}, False),
        ("auto", {"http": "http://10.0.0.5:4318"}, True),
        ("local", {"http": "http://127.0.0.1:4318"}, True),
    ],
    ids=["files", "a receiver for its machine alone", "a receiver for all", "tasks on its machine"],
)
def test_tasks_read_what_they_can_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, where: dict[str, str] | None, *, expected: bool
) -> None:
    """Another machine cannot ask a receiver that listens on the loopback address."""
    monkeypatch.setattr(ray_data, "find", lambda _: where)

    assert ray_data.can_read(Job(EtlConfig(data=tmp_path, ray=address), Window(1, 2), 0)) is expected


def test_what_is_wrong_in_a_task_is_said_in_its_own_words(tmp_path: Path) -> None:
    """A task hands its error over as a value: Ray would wrap it into one of its own."""
    import_files(tmp_path, sorted(FIXTURES.glob("openinference-openai-agents/tool_call*.pb")))
    (tmp_path / "broken.sql").write_text("select nothing from nowhere")
    config = EtlConfig(data=tmp_path, complete_after=0, reward_sql=tmp_path)
    with closing(connect(tmp_path)) as reader:
        plan = make_plan(config, reader, now_us=0)
        item = write_bucket(tmp_path, 0, plan.buckets[0], reader)

    done = process_bucket(Job(config, plan.window, plan.now_us), item)

    error = pickle.loads(done["error"])
    assert isinstance(error, SpanloopError)
    assert "broken" in str(error)
    assert error.hint is not None
