"""What is to be forgotten is gone from every file, byte by byte and row by row; what is not is as it was."""

import contextlib
import gzip
import json
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from foundation.store.opening import require_store
from foundation.web import places
from otel_exporter.redaction import Redactor
from receiver.decode.otlp import Signal
from receiver.intake.entry import Intake
from receiver.pipeline import Pipeline
from receiver.reading.archive import push_days
from receiver.schema import connect
from spanloop.processes import stages_run_by
from tests.commands import spanloop
from tests.export_requests import attribute, logs, span, traces
from train.schema import CREDIT, CREDIT_FILE

pytestmark = pytest.mark.integration

SECRET = "the blue heron nests at dawn"
OTHER = "the red kite circles at noon"


def call(number: int, trace: int, said: str, **values: str) -> Any:
    """Return a model call in which something was said."""
    now_ns = time.time_ns() - 10**9
    texts = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.response.id": f"resp-{number}",
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": said}]}]),
        "gen_ai.output.messages": json.dumps(
            [
                {
                    "role": "assistant",
                    "parts": [{"type": "text", "content": f"You said: {said}"}],
                    "finish_reason": "stop",
                }
            ]
        ),
        **values,
    }
    made = span(number, name="chat m", trace_id=trace.to_bytes(16, "big"))
    made.start_time_unix_nano, made.end_time_unix_nano = now_ns, now_ns + 10**6
    made.attributes.extend(attribute(key, value) for key, value in texts.items())
    return made


def request(*spans: Any, **resource: str) -> ExportTraceServiceRequest:
    """Return an export request, with a resource too large for every row."""
    made = traces(*spans)
    made.resource_spans[0].resource.attributes.extend(attribute(key, value * 300) for key, value in resource.items())
    return made


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """Return a copy of DATA, and of exports beside it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make DATA with two turns of alice's in one session, one of bob's, and everything that is made of them."""
    tmp_path = tmp_path_factory.mktemp("forget")
    data = tmp_path / "data"
    pipeline = Pipeline(data)
    intake = Intake(pipeline)
    for one in (
        request(call(1, 1, SECRET, **{"user.id": "alice", "session.id": "s1"}), note=SECRET),
        request(call(2, 2, SECRET, **{"session.id": "s1"})),
        request(call(3, 3, OTHER, **{"enduser.id": "bob", "session.id": "s2"}), note=OTHER),
    ):
        intake.take(Signal.TRACES, one.SerializeToString())
    judged = logs("")
    record = judged.resource_logs[0].scope_logs[0].log_records[0]
    record.event_name = "gen_ai.evaluation.result"
    record.attributes.extend(
        attribute(key, value)
        for key, value in (
            ("gen_ai.response.id", "resp-1"),
            ("gen_ai.evaluation.name", "outcome"),
            ("gen_ai.evaluation.score.label", "good"),
            ("gen_ai.evaluation.explanation", SECRET),
        )
    )
    intake.take(Signal.LOGS, judged.SerializeToString())
    pipeline.close()
    aside = data / "wal" / "quarantine"
    aside.mkdir(exist_ok=True)
    (aside / "undecodable").write_bytes(request(call(1, 1, SECRET)).SerializeToString())
    assert spanloop("etl", "run", "--data", data, "--complete-after", "0").returncode == 0
    for form, name in (("jsonl", "a.jsonl"), ("parquet", "b.parquet"), ("trl", "c.jsonl")):
        spanloop("etl", "export", "--data", data, "--format", form, "--to", tmp_path / "exports" / name)
    spool = data / "serve" / "spool"
    spool.mkdir(parents=True)
    (spool / "000000000001-1.otlp").write_bytes(b"{}\n" + request(call(1, 1, SECRET)).SerializeToString())
    return tmp_path


def everything(tmp_path: Path) -> dict[Path, str]:
    """Return all that can be read from every file, with and without knowing how: bytes, rows, compressed or not."""
    found = {}
    for path in sorted(tmp_path.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += pl.read_parquet(path).write_json().encode()
            if path.suffix == ".gz":
                content += gzip.decompress(content)
            found[path] = content.decode("utf-8", "replace")
    return found


def rows(data: Path, *tables: str) -> str:
    """Return all rows that SQL shows of tables."""
    with contextlib.closing(connect(data)) as reader:
        return "".join(str(reader.query(f"select * from {table}").to_pylist()) for table in tables)


def run_here(arguments: Sequence[str]) -> dict[str, Any]:
    """Run a stage in this process."""
    result = spanloop(*arguments)
    assert result.returncode == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_a_user_is_forgotten_everywhere(data: Path, tmp_path: Path) -> None:
    """Both turns of the session go, also the one that does not name the user; bob's stay in all tables."""
    episodes = pl.read_parquet(list((data / "dataset" / "transitions").glob("*.parquet")))
    assert episodes.height == 3
    for name, only in (("ckpt-a", SECRET), ("ckpt-b", OTHER)):
        directory = data / "checkpoints" / name
        directory.mkdir(parents=True)
        own = episodes.filter(pl.col("action").str.contains(only)).select("project", "episode_id", "span_id")
        filled = own.with_columns(pl.lit(None).alias(c) for c in CREDIT if c not in own.columns)
        filled.select(*CREDIT).write_parquet(directory / CREDIT_FILE)
    exports = tmp_path / "exports"
    with stages_run_by(run_here):
        tried = spanloop("forget", "--data", data, "--user", "alice", "--exports", exports, "--dry-run", "--json")
        before = everything(tmp_path)
        done = spanloop("forget", "--data", data, "--user", "alice", "--exports", exports, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)

    after = everything(tmp_path)
    assert any(SECRET in text for text in before.values())
    assert [path for path, text in after.items() if SECRET in text or "alice" in text or "resp-1" in text] == []
    assert report["checkpoints"] == json.loads(tried.stdout)["checkpoints"] == ["ckpt-a"]
    assert (report["spans"], report["log_records"], report["files_set_aside"], report["transitions"]) == (2, 1, 1, 2)
    shown = rows(data, "spans", "log_records", "transitions", "llm_calls", "episodes")
    assert SECRET not in shown
    assert OTHER in shown
    assert "ckpt-b" not in done.stderr
    again = spanloop("etl", "run", "--data", data, "--complete-after", "0")
    assert again.returncode == 0
    assert SECRET not in rows(data, "transitions")
    assert OTHER in rows(data, "transitions")
    assert spanloop("receiver", "verify", "--data", data).returncode == 0


def test_a_store_forgets_as_well(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tables, and days that are nowhere else by now; bob's are there as they were."""
    today = datetime.now(UTC).date() + timedelta(days=3)
    with contextlib.closing(Pipeline(data, purpose="a test")) as pipeline:
        pipeline.store.seal(today)
    monkeypatch.setenv(places.STORE, f"file://{tmp_path}/store")
    push_days(data, require_store(), today=today)
    with stages_run_by(run_here):
        assert spanloop("etl", "push", "--data", data).returncode == 0
        for path in (data / "spans").glob("*.duckdb"):
            path.unlink()
        done = spanloop("forget", "--data", data, "--user", "alice", "--exports", tmp_path / "exports", "--json")
    assert done.returncode == 0, done.stderr

    report = json.loads(done.stdout)
    assert (report["stored_spans"], report["stored_log_records"], report["transitions"]) == (2, 1, 2)
    assert [path for path, text in everything(tmp_path).items() if SECRET in text or "alice" in text] == []
    monkeypatch.setenv(places.RECEIVER, f"file://{tmp_path}/store")
    assert OTHER in rows(tmp_path / "elsewhere", "spans")
    assert spanloop("store", "verify", "--deep").returncode == 0


def test_a_trace_or_an_attribute_is_forgotten_alone(data: Path) -> None:
    """What only that trace said; others of the session are their keeper's business."""
    with stages_run_by(run_here):
        done = spanloop("forget", "--data", data, "--trace", f"{2:032x}", "--attribute", "enduser.id=bob")
    assert done.returncode == 0, done.stderr

    left = rows(data, "spans")
    assert done.stdout.split() == [f"{2:032x}", f"{3:032x}"]
    assert OTHER not in left
    assert SECRET in left


def test_nothing_is_forgotten_beside_a_running_receiver_or_of_nobody(data: Path) -> None:
    """Status 75 says to try again, 2 what was not said."""
    assert spanloop("forget", "--data", data).returncode == 2
    assert spanloop("forget", "--data", data, "--trace", "abc").returncode == 2
    with stages_run_by(run_here):
        assert spanloop("forget", "--data", data, "--user", "nobody").stdout == ""


def test_old_episodes_leave_the_published_tables(data: Path) -> None:
    """Retention of the tables that the ETL made, as there is one of the spans."""
    spanloop("etl", "prune", "--data", data, "--retain-days", "1")
    assert OTHER in rows(data, "transitions")
    transitions = data / "dataset" / "transitions"

    from etl.runs.forgetting import prune

    assert prune(data, retain_days=1, now_ns=time.time_ns() + 3 * 86_400 * 10**9)["episodes"] == 3
    assert list(transitions.glob("*.parquet")) == []
    assert OTHER in rows(data, "spans")


def test_what_a_receiver_redacts_is_in_no_file(tmp_path: Path) -> None:
    """Neither in the log nor in a day file, by whatever transport it came, and the placeholder is."""
    data = tmp_path / "data"
    pipeline = Pipeline(data, land_every_s=60)
    intake = Intake(pipeline, Redactor())
    made = request(call(1, 1, "mail heron@example.com, password=hunter22"))
    try:
        intake.take(Signal.TRACES, made.SerializeToString())
        intake.take(Signal.LOGS, logs("heron@example.com").SerializeToString())
        in_the_log = everything(tmp_path)
    finally:
        pipeline.close()

    for held in (in_the_log, everything(tmp_path)):
        assert [path for path, text in held.items() if "heron" in text or "hunter22" in text] == []
    assert "mail <EMAIL_" in rows(data, "spans")
    assert "<EMAIL_" in rows(data, "log_records")
    assert pipeline.counts["redacted_values"] == 3
