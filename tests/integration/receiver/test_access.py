"""Keys and certificates: who is let in, to what, and where a receiver refuses to start."""

import json
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from etl.schema import table_files
from foundation.errors import SettingsError
from foundation.web import places
from foundation.web.keys import Scope, create_key, keys_path, revoke_key
from receiver.query.views import DATASET_TABLES
from receiver.schema import connect, show_files
from tests.certificates import certificates
from tests.commands import spanloop
from tests.export_requests import logs, span, traces
from tests.integration.receiver.processes import LOGS, TRACES, Receiver, running

pytestmark = pytest.mark.integration

PROTOBUF = "application/x-protobuf"
FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiver, Path, dict[str, str]]]:
    data = tmp_path_factory.mktemp("access") / "data"
    keys = {
        "shop": create_key(data, name="shop", project="shop", scopes=[Scope.INGEST, Scope.QUERY]),
        "bank": create_key(data, name="bank", project="bank", scopes=[Scope.INGEST, Scope.QUERY]),
        "judge": create_key(data, name="judge", project="shop", scopes=[Scope.INGEST, Scope.REWARD]),
        "admin": create_key(data, name="admin", project="shop", scopes=[Scope.ADMIN]),
    }
    with running(data) as receiver:
        yield receiver, data, keys


def export(receiver: Receiver, body: bytes, key: str | None, method: str = TRACES) -> bytes:
    metadata = [("authorization", f"Bearer {key}")] if key else []
    with grpc.insecure_channel(receiver.grpc) as channel:
        answer: bytes = channel.unary_unary(method)(body, timeout=10, metadata=metadata)
        return answer


def code_of(receiver: Receiver, body: bytes, key: str | None) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as refused:
        export(receiver, body, key)
    code: grpc.StatusCode = refused.value.code()
    return code


def ask(receiver: Receiver, sql: str, key: str) -> Any:
    body = json.dumps({"sql": sql}).encode()
    status, _, answer = receiver.post("/v1/sql?format=json", body, Authorization=f"Bearer {key}")
    assert status == 200, answer
    return json.loads(answer)


def test_the_project_comes_from_the_key_and_bounds_what_queries_see(
    keyed: tuple[Receiver, Path, dict[str, str]],
) -> None:
    """Two projects send the same ids; each sees its own span, the administrator and the local user both."""
    receiver, data, keys = keyed
    body = {name: traces(span(1, name=name)).SerializeToString() for name in ("shop", "bank")}
    export(receiver, body["shop"], keys["shop"])
    headers = {"Content_Type": PROTOBUF, "x_api_key": keys["bank"]}
    assert receiver.post("/v1/traces", body["bank"], **headers)[0] == 200

    for name in ("shop", "bank"):
        assert ask(receiver, "select project, name from spans", keys[name]) == [{"project": name, "name": name}]
        assert ask(receiver, "select project from traces", keys[name]) == [{"project": name}]
    assert len(ask(receiver, "from spans", keys["admin"])) == 2
    reader = connect(data)
    assert reader.query("from spans").num_rows == 2
    reader.close()


def test_scopes_are_kept(keyed: tuple[Receiver, Path, dict[str, str]]) -> None:
    """No key 401 and UNAUTHENTICATED, the wrong scope 403 and PERMISSION_DENIED; health needs no key."""
    receiver, _, keys = keyed
    body = traces(span(2)).SerializeToString()
    for unknown in (None, "sl_00000000_x", "nonsense", keys["shop"][:-1]):
        assert code_of(receiver, body, unknown) is grpc.StatusCode.UNAUTHENTICATED
    assert code_of(receiver, body, keys["admin"]) is grpc.StatusCode.PERMISSION_DENIED
    for path, key, expected in (
        ("/v1/traces", None, 401),
        ("/v1/traces", keys["admin"], 403),
        ("/v1/sql", None, 401),
        ("/v1/sql", keys["judge"], 403),
        ("/v1/rewards", keys["shop"], 403),
    ):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        assert receiver.post(path, body, Content_Type=PROTOBUF, **headers)[0] == expected, path
    for path in ("/healthz", "/readyz"):
        with urllib.request.urlopen(receiver.http + path) as response:
            assert response.status == 200


def test_rewards_count_only_from_keys_that_may_give_them(keyed: tuple[Receiver, Path, dict[str, str]]) -> None:
    """By OTLP logs, by span events and over HTTP; what else is in the request is stored."""
    receiver, _, keys = keyed
    request = logs("kept", "forged")
    request.resource_logs[0].scope_logs[0].log_records[1].event_name = "gen_ai.evaluation.result"
    answer = ExportLogsServiceResponse.FromString(
        export(receiver, request.SerializeToString(), keys["shop"], LOGS)
    ).partial_success
    assert (answer.rejected_log_records, "no scope reward" in answer.error_message) == (1, True)
    forging = span(9, name="forging")
    forging.events.add(name="gen_ai.evaluation.result").attributes.add(key="x", value=AnyValue(double_value=1))
    forging.events.add(name="harmless")
    export(receiver, traces(forging).SerializeToString(), keys["shop"])

    assert ask(receiver, "select body from log_records", keys["shop"]) == [{"body": '"kept"'}]
    (events,) = ask(receiver, "select events from spans where name = 'forging'", keys["shop"])
    assert [event["name"] for event in json.loads(events["events"])] == ["harmless"]
    reward = json.dumps({"trace_id": "ab" * 16, "name": "outcome", "value": 1}).encode()
    assert receiver.post("/v1/rewards", reward, Authorization=f"Bearer {keys['judge']}")[0] == 200
    export(receiver, request.SerializeToString(), keys["judge"], LOGS)
    given = "select count(*) as n from log_records where event_name = 'gen_ai.evaluation.result'"
    assert ask(receiver, given, keys["shop"]) == [{"n": 2}]


def test_a_key_is_rotated_without_a_restart_and_kept_hashed(keyed: tuple[Receiver, Path, dict[str, str]]) -> None:
    """Two of a name live side by side; the third is refused; the revoked one is worthless at once."""
    receiver, data, _ = keyed
    body = traces(span(3)).SerializeToString()
    first, second = (create_key(data, name="turning", project="p", scopes=[Scope.INGEST]) for _ in range(2))
    for key in (first, second):
        export(receiver, body, key)
    third = spanloop("receiver", "keys", "create", "--data", str(data), "--name", "turning")
    assert (third.returncode, "2 keys named turning live already" in third.stderr) == (2, True)
    revoke_key(data, first.split("_")[1])

    assert code_of(receiver, body, first) is grpc.StatusCode.UNAUTHENTICATED
    export(receiver, body, second)
    assert second not in keys_path(data).read_text()
    assert keys_path(data).stat().st_mode & 0o077 == 0
    listed = spanloop("receiver", "keys", "list", "--data", str(data)).stdout
    assert '"name": "turning"' in listed
    assert second not in listed


def test_an_open_address_needs_keys_and_encryption(tmp_path: Path) -> None:
    """Each missing half is named, with the flag that mends it: exit 2."""
    data = str(tmp_path / "data")
    wide = ("receiver", "run", "--data", data, "--grpc", "0.0.0.0:0", "--http", "127.0.0.1:0")
    assert "spanloop receiver keys create" in spanloop(*wide).stderr
    create_key(tmp_path / "data", name="agents", project="default", scopes=[Scope.INGEST])
    result = spanloop(*wide)
    assert (result.returncode, "--tls-cert" in result.stderr) == (2, True)
    half = spanloop(*wide, "--tls-cert", "missing.pem")
    assert (half.returncode, "both --tls-cert and --tls-key" in half.stderr) == (2, True)
    broken = spanloop(*wide, "--tls-cert", "missing.pem", "--tls-key", "missing.pem")
    assert (broken.returncode, "cannot be used" in broken.stderr) == (2, True)
    with running(tmp_path / "data", "--grpc", "0.0.0.0:0", "--plaintext") as receiver:
        assert code_of(receiver, b"", None) is grpc.StatusCode.UNAUTHENTICATED


def test_mutual_tls_lets_certified_clients_in_and_nobody_else(tmp_path: Path) -> None:
    """Over both ports, on an open address, without a key; commands on this machine keep working."""
    cert, key = certificates(tmp_path)
    tls = ("--tls-cert", str(cert), "--tls-key", str(key), "--tls-client-ca", str(cert))
    with running(tmp_path / "data", *tls, "--grpc", "0.0.0.0:0") as receiver:
        port = receiver.grpc.rpartition(":")[2]
        pair = (key.read_bytes(), cert.read_bytes())
        body = traces(span(1)).SerializeToString()
        with grpc.secure_channel(
            f"localhost:{port}", grpc.ssl_channel_credentials(cert.read_bytes(), *pair)
        ) as channel:
            assert channel.unary_unary(TRACES)(body, timeout=60) == b""
        with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(cert.read_bytes())) as channel:
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(TRACES)(body, timeout=60)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        https = next(line for line in receiver.log.read_text().split() if line.startswith("http=https"))
        url = https.removeprefix("http=") + "/v1/traces"
        trusting = ssl.create_default_context(cafile=str(cert))
        request = urllib.request.Request(url, data=body, headers={"Content-Type": PROTOBUF})
        with pytest.raises(OSError, match=r"certificate required|reset|EOF|closed"):
            urllib.request.urlopen(request, context=trusting, timeout=60)
        trusting.load_cert_chain(cert, key)
        with urllib.request.urlopen(request, context=trusting, timeout=60) as response:
            assert response.status == 200
        assert receiver.post("/v1/traces", body, Content_Type=PROTOBUF)[0] == 401  # the local port wants the token
        counted = spanloop(
            "sql", "--data", str(tmp_path / "data"), "--format", "json", "select count(*) as n from spans"
        )
        assert json.loads(counted.stdout) == [{"n": 1}]


def test_every_view_shows_a_key_its_own_project_alone(keyed: tuple[Receiver, Path, dict[str, str]]) -> None:
    """The tables of later stages hold every project's prompts; one without a column that says whose is not shown."""
    receiver, data, keys = keyed
    files: dict[str, list[Path]] = {}
    for table in DATASET_TABLES:
        path = data / "dataset" / table / "part.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pa.parquet.write_table(pa.table({"project": ["shop", "bank"], "secret": ["s", "b"]}), path)
        files[table] = [path]
    show_files(data, files)

    for table in DATASET_TABLES:
        assert ask(receiver, f"select project, secret from {table}", keys["bank"]) == [
            {"project": "bank", "secret": "b"}
        ]
        assert len(ask(receiver, f"from {table}", keys["admin"])) == 2
    pa.parquet.write_table(pa.table({"secret": ["s", "b"]}), files["rejected"][0])
    body = json.dumps({"sql": "select secret from rejected"}).encode()
    assert receiver.post("/v1/sql", body, Authorization=f"Bearer {keys['bank']}")[0] >= 400


def test_a_reader_on_another_machine_reads_with_a_key_of_scope_admin(
    keyed: tuple[Receiver, Path, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without bounds, and without DATA: URL and key are all that it knows. Other keys are not let in so."""
    receiver, _, keys = keyed
    monkeypatch.setenv(places.RECEIVER, receiver.http)
    monkeypatch.setenv(places.KEY_FILE, str(tmp_path / "key"))
    statement = "select count(*) as n from range(1_500_000)"

    (tmp_path / "key").write_text(keys["admin"])
    with closing(connect(tmp_path / "nowhere")) as reader:
        assert reader.query("from range(1_500_000)").num_rows == 1_500_000  # more than --sql-max-rows
        assert reader.query(statement).to_pylist() == [{"n": 1_500_000}]
    (tmp_path / "key").write_text(keys["shop"])
    with closing(connect(tmp_path / "nowhere")) as reader, pytest.raises(SettingsError, match="does not let this key"):
        reader.query(statement)


def test_the_etl_makes_the_same_of_a_receiver_elsewhere(
    keyed: tuple[Receiver, Path, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes it publishes are those that it publishes beside the receiver."""
    receiver, data, keys = keyed
    for path in sorted((FIXTURES / "openinference-openai-agents").glob("tool_call*.pb")):
        export(receiver, path.read_bytes(), keys["shop"])
    assert spanloop("etl", "run", "--data", data, "--complete-after", "0").returncode == 0
    (tmp_path / "key").write_text(keys["admin"])

    named = ("--receiver", receiver.http, "--key-file", tmp_path / "key")
    ran = spanloop("etl", "run", "--data", tmp_path / "loop", "--complete-after", "0", *named)

    assert ran.returncode == 0, ran.stderr
    assert len(table_files(data, "transitions")) == 1
    for table in ("transitions", "llm_calls", "tool_calls", "rejected"):
        here, there = ([path.read_bytes() for path in table_files(each, table)] for each in (data, tmp_path / "loop"))
        assert here == there, table


def test_nobody_is_let_in_where_keys_were_and_are_no_more(tmp_path: Path) -> None:
    """The last one revoked, the file damaged, the file removed: refused, for good or until it is mended."""
    data = tmp_path / "data"
    key = create_key(data, name="agents", project="shop", scopes=[Scope.ADMIN, Scope.INGEST])
    body = traces(span(1)).SerializeToString()
    with running(data) as receiver:
        assert receiver.get("/metrics")[0] == 401
        whole = keys_path(data).read_bytes()
        for damage in (lambda: keys_path(data).write_text("{"), lambda: keys_path(data).unlink()):
            damage()
            assert code_of(receiver, body, None) is grpc.StatusCode.UNAUTHENTICATED
            assert code_of(receiver, body, key) is grpc.StatusCode.UNAVAILABLE
            assert receiver.post("/v1/traces", body, Content_Type=PROTOBUF, X_Api_Key=key)[0] == 503
            assert receiver.get("/readyz")[0] == 503
            keys_path(data).write_bytes(whole)
            assert export(receiver, body, key) == b""
        revoke_key(data, key.split("_")[1])
        for given in (None, key):
            assert code_of(receiver, body, given) is grpc.StatusCode.UNAUTHENTICATED
        for path in ("/v1/traces", "/v1/sql", "/v1/rewards"):
            assert receiver.post(path, b"{}", Content_Type=PROTOBUF)[0] == 401, path
        assert receiver.get("/metrics")[0] == 401
        assert receiver.post("/v1/traces", body, Content_Type=PROTOBUF, Authorization="Bearer \xff")[0] == 401
