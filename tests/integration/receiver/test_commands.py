"""The commands, as a user meets them: running, reading with and without a receiver, and what stands in the way."""

import json
import signal
import socket
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from receiver.schema import connect, show_files
from tests.commands import spanloop
from tests.export_requests import logs, span, traces
from tests.integration.receiver.processes import running, start
from tests.scale import within

pytestmark = pytest.mark.integration

FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp"


def test_import_and_sql_need_no_receiver(tmp_path: Path) -> None:
    """Recorded files go in, a table comes out, and a second import changes nothing."""
    data = str(tmp_path / "data")
    files = [str(path) for path in sorted(FIXTURES.glob("openinference-openai*/*.pb"))]

    counts = []
    for _ in range(2):
        result = spanloop("receiver", "import", "--data", data, "--json", *files)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["status"] == "done"
        shown = spanloop("sql", "--data", data, "--format", "json", "select count(*) as n from spans")
        counts.append(json.loads(shown.stdout)[0]["n"])

    assert counts[0] == counts[1] > 0
    as_csv = spanloop("sql", "--data", data, "--format", "csv", "select 1 as a, [1] as b")
    assert as_csv.stdout == '"a","b"\n1,"[1]"\n'
    as_table = spanloop("sql", "--data", data, "select 'two words' as said")
    assert "two words" in as_table.stdout
    status = json.loads(spanloop("receiver", "status", "--data", data, "--json").stdout)
    assert (status["running"], status["spans"]) == (False, counts[0])


def test_json_lines_are_imported(tmp_path: Path) -> None:
    """One OTLP/JSON request a line, as the Collector's file exporter writes them."""

    def line(number: int) -> str:
        spans = [{"traceId": "ab" * 16, "spanId": f"{number:016x}", "name": "x"}]
        return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})

    path = tmp_path / "export.jsonl"
    path.write_text("\n".join(line(number) for number in (1, 2, 3)) + "\n")

    result = spanloop("receiver", "import", "--data", str(tmp_path / "data"), "--json", str(path))

    assert json.loads(result.stdout)["spans"] == 3


def test_a_file_that_is_no_request_is_named(tmp_path: Path) -> None:
    """The message names the file and what was expected; nothing is stored by halves."""
    bad = tmp_path / "bad.pb"
    bad.write_bytes(b"\xff\xff\xff")

    result = spanloop("receiver", "import", "--data", str(tmp_path / "data"), str(bad))

    assert result.returncode == 1
    assert "bad.pb holds no OTLP export request" in result.stderr
    missing = spanloop("receiver", "import", "--data", str(tmp_path / "data"), str(tmp_path / "none.pb"))
    assert missing.returncode == 2
    assert "none.pb cannot be read" in missing.stderr


def test_an_empty_directory_reads_as_empty_tables(tmp_path: Path) -> None:
    """Asking before anything came is no error."""
    result = spanloop("sql", "--data", str(tmp_path / "data"), "--format", "json", "select count(*) as n from spans")

    assert json.loads(result.stdout) == [{"n": 0}]


def test_views_of_the_dataset_follow_its_files(tmp_path: Path) -> None:
    """What the ETL published, and nothing a dead run left, is queryable, with a receiver and without."""
    data = tmp_path / "data"
    directory = data / "dataset" / "episodes"
    directory.mkdir(parents=True)
    pyarrow.parquet.write_table(pa.table({"episode_id": ["e1"], "outcome": [0.5]}), directory / "part-0.parquet")
    pyarrow.parquet.write_table(pa.table({"episode_id": ["e2"], "outcome": [0.1]}), directory / "part-1.parquet")
    show_files(data, {"episodes": [directory / "part-0.parquet"]})
    sql = "select episode_id, outcome from episodes"

    reader = connect(data)
    assert reader.query(sql).to_pylist() == [{"episode_id": "e1", "outcome": 0.5}]
    reader.close()
    with running(data) as receiver:
        assert receiver.sql(sql) == [{"episode_id": "e1", "outcome": 0.5}]


def test_local_readers_are_unbounded_and_others_are_not(tmp_path: Path) -> None:
    """The token in receiver.json, readable by its owner alone, lifts the bounds; what may be asked stays the same."""
    data = tmp_path / "data"
    with running(data, "--sql-max-rows", "100") as receiver:
        assert stat.S_IMODE((data / "receiver.json").stat().st_mode) == 0o600
        reader = connect(data)
        assert reader.query("select i from range(300000) t(i)").num_rows == 300_000
        assert sum(batch.num_rows for batch in reader.stream("select i from range(300000) t(i)")) == 300_000
        assert reader.query("select ? as x", ["bound"]).to_pylist() == [{"x": "bound"}]
        with pytest.raises(Exception, match="cannot be read from"):
            reader.query("select * from read_text('/etc/passwd')")
        for statement, status in (("select i from range(300) t(i)", 422), ("drop view spans", 400), ("select", 400)):
            answer = receiver.post("/v1/sql", json.dumps({"sql": statement}).encode())
            assert answer[0] == status, answer
        assert receiver.post("/v1/sql", b"select 1")[0] == 400
        as_arrow = receiver.post("/v1/sql", b'{"sql": "select ? as x", "parameters": [7]}')[2]
        assert pa.ipc.open_stream(as_arrow).read_all().to_pylist() == [{"x": 7}]
        as_csv = receiver.post("/v1/sql?format=csv", b'{"sql": "select 7 as x"}')[2]
        assert as_csv == b'"x"\n7\n'


def test_a_reader_after_a_crash_misses_nothing(tmp_path: Path) -> None:
    """What was acknowledged and not landed is recovered before reading; the stale announcement fools nobody."""
    receiver = start(tmp_path / "data", "--land-every-s", "60")
    receiver.export(traces(span(1), span(2)).SerializeToString())
    receiver.kill()
    assert (tmp_path / "data" / "receiver.json").exists()

    result = spanloop("sql", "--data", str(tmp_path / "data"), "--format", "json", "select count(*) as n from spans")

    assert json.loads(result.stdout) == [{"n": 2}]


def test_sigterm_lands_what_was_taken_and_ends_in_time(tmp_path: Path) -> None:
    """The next start has nothing to replay, and the announcement is gone."""
    data = tmp_path / "data"
    receiver = start(data, "--land-every-s", "60")
    receiver.export(traces(span(1)).SerializeToString())
    receiver.process.send_signal(signal.SIGTERM)

    assert receiver.process.wait(timeout=within(10)) == 0
    assert not (data / "receiver.json").exists()
    with running(data) as again:
        assert "replayed_requests=0" in again.log.read_text()
        assert again.sql("select count(*) as n from spans") == [{"n": 1}]


def test_a_held_directory_names_its_holder(tmp_path: Path) -> None:
    """Two receivers cannot share DATA: exit 75, with the pid of the first."""
    with running(tmp_path / "data") as receiver:
        result = spanloop(
            "receiver", "run", "--data", str(tmp_path / "data"), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"
        )

    assert result.returncode == 75
    assert f"pid {receiver.process.pid}" in result.stderr


@pytest.mark.parametrize(("flag", "free"), [("--grpc", "--http"), ("--http", "--grpc")])
def test_a_busy_port_says_which_flag_to_change(tmp_path: Path, flag: str, free: str) -> None:
    """Exit 75, the address and the way out; who usually holds 4317 and 4318 is `test_addresses.py`'s."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        result = spanloop("receiver", "run", "--data", str(tmp_path / "data"), flag, address, free, "127.0.0.1:0")

    assert result.returncode == 75
    assert address in result.stderr
    assert flag in result.stderr


def test_an_address_nobody_can_listen_on_is_not_called_in_use(tmp_path: Path) -> None:
    """Exit 2: waiting does not help."""
    both = ("--grpc", "127.0.0.1:4399", "--http", "127.0.0.1:4399")
    for arguments, said in ((both, "are both"), (("--http", "localhost.invalid:1", "--plaintext"), "other machines")):
        result = spanloop("receiver", "run", "--data", str(tmp_path / "data"), *arguments)
        assert (result.returncode, said in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(("address", "said"), [("0.0.0.0:4317", "other machines"), ("4317", "HOST:PORT")])
def test_an_address_beyond_this_machine_is_refused(tmp_path: Path, address: str, said: str) -> None:
    """Exit 2: nobody without a key may write spans or read prompts."""
    result = spanloop("receiver", "run", "--data", str(tmp_path / "data"), "--grpc", address)

    assert result.returncode == 2
    assert said in result.stderr


def test_import_finds_out_what_a_protobuf_file_holds(tmp_path: Path) -> None:
    """A name without `.logs` is tried as traces first, and as logs when that makes no sense."""
    (tmp_path / "unnamed.pb").write_bytes(logs("a", "b").SerializeToString())

    result = spanloop("receiver", "import", "--data", str(tmp_path / "data"), "--json", str(tmp_path / "unnamed.pb"))

    assert json.loads(result.stdout)["log_records"] == 2


def test_a_running_receiver_is_backed_up_and_the_backup_verifies(tmp_path: Path) -> None:
    """Acknowledged and not yet landed is in it too; verifying what a receiver holds is refused with 75."""
    data, out = tmp_path / "data", tmp_path / "out"
    with running(data, "--land-every-s", "30") as receiver:
        receiver.export(traces(span(1), span(2)).SerializeToString())
        backup = spanloop("receiver", "backup", "--data", str(data), "--out", str(out))
        assert backup.returncode == 0, backup.stderr
        assert spanloop("receiver", "verify", "--data", str(data)).returncode == 75
        assert receiver.post("/v1/backup", b"")[0] == 403

    assert spanloop("receiver", "verify", "--data", str(out)).returncode == 0
    shown = spanloop("sql", "--data", str(out), "--format", "json", "select count(*) as n from spans")
    assert json.loads(shown.stdout) == [{"n": 2}]
    again = spanloop("receiver", "backup", "--data", str(data), "--out", str(out))
    assert again.returncode == 2
    pruned = spanloop("receiver", "prune", "--data", str(out), "--retain-gb", "0.000001", "--dry-run")
    assert (pruned.returncode, pruned.stdout) == (0, "")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("langfuse.json", '{"data": [{"id": "1", "traceId": "2", "name": "generation"}]}'),
        ("list.json", '[{"trace_id": "1"}]'),
        ("phoenix.jsonl", '{"context": {"trace_id": "1"}, "span_kind": "LLM"}\n{"context": {"trace_id": "2"}}\n'),
        ("empty.json", '{"resourceSpans": []}'),
        ("empty.pb", ""),
    ],
)
def test_a_file_that_holds_nothing_is_refused(tmp_path: Path, name: str, content: str) -> None:
    """An export of something else must not pass for an import of nothing; what was expected is said."""
    (tmp_path / name).write_text(content)
    imported = spanloop("receiver", "import", "--data", str(tmp_path / "data"), str(tmp_path / name))

    assert imported.returncode == 1
    assert "resourceSpans" in imported.stderr
    assert name in imported.stderr


def test_logs_in_either_spelling_are_imported(tmp_path: Path) -> None:
    """As the Collector's file exporter writes them, and as protobuf's own names have them."""
    body = {"stringValue": "said"}
    camel = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": body}]}]}]}
    snake = {"resource_logs": [{"scope_logs": [{"log_records": [{"body": body, "severity_text": "INFO"}]}]}]}
    (tmp_path / "logs.jsonl").write_text(f"{json.dumps(camel)}\n{json.dumps(snake)}\n")
    imported = spanloop("receiver", "import", "--json", "--data", str(tmp_path / "data"), str(tmp_path / "logs.jsonl"))

    assert json.loads(imported.stdout)["log_records"] == 2, imported.stderr


def test_what_another_product_recorded_is_taken_by_a_running_receiver(tmp_path: Path) -> None:
    """Every row is counted; what is of another kind is refused with status 2."""
    row = {"object": "chat.completion", "id": "chatcmpl-1", "created": 1738960610, "model": "m", "choices": [{}]}
    (tmp_path / "stored.json").write_text(
        json.dumps({"object": "list", "data": [{**row, "messages": [{"role": "user", "content": "a"}]}, row]})
    )
    (tmp_path / "other.json").write_text('{"colour": "red"}')

    with running(tmp_path / "data") as receiver:
        taken = spanloop("import", "openai", tmp_path / "stored.json", "--data", tmp_path / "data")
        refused = spanloop("import", "openai", tmp_path / "other.json", "--data", tmp_path / "data")
        (stored,) = receiver.sql("select count(*) as spans from spans")

    assert (taken.returncode, taken.stdout.split()[:6]) == (0, ["2", "rows", "1", "imported", "1", "spans"])
    assert "1  refused: a stored completion without its messages" in taken.stdout
    assert (refused.returncode, "the first has the fields colour" in refused.stderr) == (2, True)
    assert stored["spans"] == 1
