"""Faults of disk, clock, clients and database, one test each: what was acknowledged is there once, and service resumes.

The table on docs/receiver.md names these tests. Power loss and SIGKILL have files of their own.
"""

import asyncio
import contextlib
import errno
import gzip
import itertools
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from grpc import Compression
from grpc_health.v1.health_pb2 import HealthCheckRequest

from receiver import pipeline as receiver_pipeline
from receiver.days.files import day_files
from receiver.decode.otlp import Signal, read_protobuf
from receiver.decode.refusals import Overloaded
from receiver.intake.access import Access
from receiver.intake.entry import Intake
from receiver.intake.grpc_server import GrpcServer
from receiver.intake.http_server import HttpServer
from receiver.log.disk import OsDisk
from receiver.log.records import Record
from receiver.pipeline import Pipeline
from receiver.schema import connect
from receiver.settings import ReceiverConfig
from receiver.store.landing import Decoded
from tests.export_requests import logs, span, traces
from tests.integration.receiver.processes import LOGS, TRACES, Receiver, running, start
from tests.integration.receiver.test_kill import Client
from tests.scale import times, within

pytestmark = [pytest.mark.integration, pytest.mark.long]

PROTOBUF = "application/x-protobuf"
NUM_SOCKETS = times(short=2_000, long=10_000)


def submit(pipeline: Pipeline, number: int, name: str = "work") -> None:
    body = traces(span(number, name=name)).SerializeToString()
    pipeline.submit(read_protobuf(Signal.TRACES, body), "default").result(20)


def stored(data: Path) -> list[int]:
    with contextlib.closing(connect(data)) as reader:
        return sorted(int(row, 16) for row in reader.query("select span_id from spans")["span_id"].to_pylist())


# --- disk


class FailingSync(OsDisk):
    """A disk on which every n-th sync reports an I/O error."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._count = 0

    def sync(self, handle: int) -> None:
        self._count += 1
        if self._count % self._every == 0:
            raise OSError(errno.EIO, "Input/output error")
        super().sync(handle)


def test_an_io_error_on_fsync_is_refused_and_the_next_request_goes_elsewhere(tmp_path: Path) -> None:
    """The file whose sync failed is never synced again; what was acknowledged before and after is there."""
    pipeline = Pipeline(tmp_path, disk=FailingSync(every=7), land_every_s=0.05)
    acknowledged, failed = [], 0
    try:
        for number in range(1, 60):
            try:
                submit(pipeline, number)
                acknowledged.append(number)
            except OSError:
                failed += 1
    finally:
        pipeline.close()

    assert failed > 4
    assert set(acknowledged) <= set(stored(tmp_path))


class StuckDisk(OsDisk):
    """A disk that takes as long for a sync as a test wants."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()

    def sync(self, handle: int) -> None:
        self.goes_on.wait()
        super().sync(handle)


class SlowDisk(OsDisk):
    """A disk that takes half a second for every sync."""

    def sync(self, handle: int) -> None:
        time.sleep(0.5)
        super().sync(handle)


def test_a_slow_disk_costs_latency_and_not_memory_or_spans(tmp_path: Path) -> None:
    """Requests share a sync, so none waits for more than three; what finds no room in the backlog is refused."""
    bound = 100_000
    pipeline = Pipeline(tmp_path, disk=SlowDisk(), land_every_s=0.05, max_backlog_bytes=bound)
    most_waiting = 0
    latencies: list[float] = []
    acknowledged: list[int] = []

    def send(number: int) -> None:
        nonlocal most_waiting
        began = time.monotonic()
        with contextlib.suppress(Overloaded):
            submit(pipeline, number, name="x" * 3000)
            latencies.append(time.monotonic() - began)
            acknowledged.append(number)
        most_waiting = max(most_waiting, pipeline.backlog_bytes)

    try:
        with ThreadPoolExecutor(64) as threads:
            list(threads.map(send, range(1, 129)))
    finally:
        pipeline.close()

    assert len(acknowledged) > 64
    assert most_waiting <= 2 * bound
    assert max(latencies) < 2.0 + 3 * 0.5 + 1.0  # the wait for room, the syncs, this machine
    assert set(acknowledged) == set(stored(tmp_path))


@contextlib.contextmanager
def file_size_limit(receiver: Receiver, size_bytes: int) -> Iterator[None]:
    """Let no file of a running receiver grow beyond a size: writes then fail with EFBIG, in DuckDB too."""
    before = resource.prlimit(receiver.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(receiver.process.pid, resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.prlimit(receiver.process.pid, resource.RLIMIT_FSIZE, before)


def test_a_database_that_gave_up_is_opened_anew(tmp_path: Path) -> None:
    """The kernel refuses DuckDB's writes for a while: what was acknowledged is there, once, and more is taken."""
    data = tmp_path / "data"
    with running(data, "--land-every-s", "0.05") as receiver:
        acknowledged = 0
        codes: set[grpc.StatusCode] = set()

        def send(number: int) -> int:
            try:
                receiver.export(traces(span(number, name="y" * 20)).SerializeToString())
                receiver.export(logs(f"record {number}").SerializeToString(), LOGS)
            except grpc.RpcError as error:
                codes.add(error.code())
                return 0
            return 1

        acknowledged += sum(send(number) for number in range(1, 30))
        log = next((data / "spans").glob("*.duckdb.wal"))
        with file_size_limit(receiver, log.stat().st_size + 2_000):
            acknowledged += sum(send(number) for number in range(30, 90))
            deadline = time.monotonic() + 20
            while "landing failed" not in receiver.log.read_text() and time.monotonic() < deadline:
                time.sleep(0.05)
        assert "landing failed" in receiver.log.read_text()
        acknowledged += sum(send(number) for number in range(90, 120))
        deadline = time.monotonic() + 20
        while metric(receiver, "spanloop_receiver_backlog_bytes") > 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert metric(receiver, "spanloop_receiver_backlog_bytes") == 0
        assert acknowledged > 50
        assert codes <= {grpc.StatusCode.UNAVAILABLE}
        (row,) = receiver.sql("select count(*) as n, count(distinct span_id) as ids from spans")
        assert row["n"] == row["ids"] >= acknowledged
        assert receiver.sql("select count(*) as n from log_records")[0]["n"] >= acknowledged


def metric(receiver: Receiver, name: str) -> float:
    with urllib.request.urlopen(receiver.http + "/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)


# --- clock

MIDNIGHT = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp()) * 10**9
DAY_NS = 86_400 * 10**9


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


def test_midnight_passes_under_load(tmp_path: Path) -> None:
    """Each span is filed under the day it was received, queries see one set throughout, and old days are sealed."""
    clock = Clock(MIDNIGHT - 10**6)
    pipeline = Pipeline(tmp_path, clock=clock, land_every_s=0.01)
    try:
        for number in range(1, 41):
            submit(pipeline, number)
            clock.now_ns += 50_000  # midnight falls between the twentieth and the twenty-first
            with pipeline.snapshot() as connection:
                assert connection.execute("select count(*) from spans").fetchall() == [(number,)]
    finally:
        pipeline.close()
    days = day_files(tmp_path)
    assert [day.isoformat() for day in days] == ["2026-03-01", "2026-03-02"]

    with contextlib.closing(Pipeline(tmp_path, clock=Clock(MIDNIGHT + 3 * DAY_NS), land_every_s=0.01)) as pipeline:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not all(path.with_suffix(".ids").exists() for path in days.values()):
            time.sleep(0.02)
        with pipeline.snapshot() as connection:
            rows = connection.execute(
                "select received_time::date::varchar, count(*) from spans group by 1 order by 1"
            ).fetchall()
    assert rows == [("2026-03-01", 20), ("2026-03-02", 20)]


def test_a_clock_set_back_does_not_send_days_backwards(tmp_path: Path) -> None:
    """What comes after is filed under the day reached; a restart, with the clock as it then is, misses nothing."""
    clock = Clock(MIDNIGHT + 10**9)
    with contextlib.closing(Pipeline(tmp_path, clock=clock, land_every_s=0.01)) as pipeline:
        submit(pipeline, 1)
        clock.now_ns -= 2 * DAY_NS
        submit(pipeline, 2)
    assert [day.isoformat() for day in day_files(tmp_path)] == ["2026-03-02"]

    with contextlib.closing(Pipeline(tmp_path, clock=clock, land_every_s=0.01)) as pipeline:
        submit(pipeline, 2)
        submit(pipeline, 3)
    assert stored(tmp_path) == [1, 2, 3]


def test_a_clock_that_leaps_removes_no_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten years ahead would make every day too old to keep; a leap is not the passing of time."""
    monkeypatch.setattr("receiver.pipeline.UPKEEP_EVERY_S", 0.0)
    clock = Clock(MIDNIGHT)
    with contextlib.closing(Pipeline(tmp_path, clock=clock, land_every_s=0.01, retain_days=7)) as pipeline:
        submit(pipeline, 1)
        clock.now_ns += 3650 * DAY_NS
        submit(pipeline, 2)
        time.sleep(0.2)
        with pipeline.snapshot() as connection:
            assert connection.execute("select count(*) from spans").fetchall() == [(2,)]
    assert len(day_files(tmp_path)) == 2


# --- clients


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with running(tmp_path_factory.mktemp("faults") / "data") as receiver:
        yield receiver


def resident_mb(receiver: Receiver, which: str = "VmHWM") -> int:
    lines = Path(f"/proc/{receiver.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(which)).split()[1]) // 1024


def test_zip_bombs_are_refused_in_bounded_memory(receiver: Receiver) -> None:
    """A thousand to one, over both protocols, in one member and in many, cut short and nested: refused for good."""
    resident = resident_mb(receiver)
    bomb = gzip.compress(bytes(1 << 30), compresslevel=1)
    members = gzip.compress(bytes(8 << 20)) * 64
    for body, status in ((bomb, 413), (members, 413), (bomb[: len(bomb) // 2], 413), (gzip.compress(bomb), 400)):
        answer = receiver.post("/v1/traces", body, Content_Type=PROTOBUF, Content_Encoding="gzip")
        assert answer[0] == status
    large = bytes(200 << 20)
    unlimited = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(receiver.grpc, options=unlimited) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(TRACES)(large, timeout=30, compression=Compression.Gzip)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "google.rpc.retryinfo-bin" not in dict(refused.value.trailing_metadata() or ())
    assert resident_mb(receiver) - resident < 400
    receiver.export(traces(span(1)).SerializeToString())


def connect_silently(address: str, count: int, said: bytes = b"") -> list[socket.socket]:
    host, _, port = address.rpartition(":")
    sockets = []
    for _ in range(count):
        client = socket.create_connection((host, int(port)), timeout=10)
        client.sendall(said)
        sockets.append(client)
    return sockets


def num_files(receiver: Receiver) -> int:
    return len(list(Path(f"/proc/{receiver.process.pid}/fd").iterdir()))


def test_thousands_of_silent_sockets_hold_nobody_up(receiver: Receiver) -> None:
    """Half on each port say nothing, or half a request: others are answered as before, and gRPC closes the silent."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = num_files(receiver)
    half = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-"
    sockets: list[socket.socket] = []
    try:
        sockets += connect_silently(receiver.grpc, NUM_SOCKETS // 2)
        sockets += connect_silently(receiver.http.removeprefix("http://"), NUM_SOCKETS // 4)
        sockets += connect_silently(receiver.http.removeprefix("http://"), NUM_SOCKETS // 4, half)
        assert num_files(receiver) - before > NUM_SOCKETS // 4
        latencies = []
        for number in range(100, 150):
            began = time.monotonic()
            receiver.export(traces(span(number)).SerializeToString())
            latencies.append(time.monotonic() - began)
        assert sorted(latencies)[-3] < 1.0
        deadline = time.monotonic() + 20
        while num_files(receiver) - before > NUM_SOCKETS // 2 + 50 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert num_files(receiver) - before <= NUM_SOCKETS // 2 + 50
    finally:
        for client in sockets:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    deadline = time.monotonic() + 20
    while num_files(receiver) - before > 50 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert num_files(receiver) - before <= 50


@contextlib.contextmanager
def http_served(pipeline: Pipeline, data: Path) -> Iterator[str]:
    """Serve a pipeline over HTTP from a thread of this process, so that the patience can be shortened."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    config = ReceiverConfig(data=data, max_request_mb=1, max_backlog_mb=1)

    async def begin() -> tuple[web.AppRunner, int]:
        runner = HttpServer(pipeline, Intake(pipeline), config, access=Access(data, token="t")).runner()
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, runner.addresses[0][1]

    runner, port = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


HEAD = (
    b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/x-protobuf\r\nContent-Length: 500000\r\n\r\n"
)


def test_slow_http_clients_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent, half a head, a head a byte at a time, a body that does not come: each ends within its patience."""
    monkeypatch.setattr("receiver.intake.http_server.IDLE_PATIENCE_S", 1.0)
    monkeypatch.setattr("receiver.intake.bodies.BODY_PATIENCE_S", 1.0)
    with contextlib.closing(Pipeline(tmp_path)) as pipeline, http_served(pipeline, tmp_path) as address:
        silent, half, slow, bodiless = (
            connect_silently(address, 1, said)[0] for said in (b"", HEAD[:40], b"P", HEAD + b"a few bytes")
        )
        for byte in HEAD[1:80]:  # eight seconds, or more
            time.sleep(0.1)
            try:
                slow.sendall(bytes([byte]))
            except OSError:
                break
        else:
            raise AssertionError("it was not let go within eight seconds")
        for client in (silent, half):
            assert client.recv(1000) == b""
        assert bodiless.recv(1000).startswith(b"HTTP/1.1 503")
        for client in (silent, half, slow, bodiless):
            client.close()


def test_many_large_bodies_at_once_are_refused_before_they_fill_memory(tmp_path: Path) -> None:
    """What is held of bodies under way is bounded by what was received, not by what was announced."""
    with contextlib.closing(Pipeline(tmp_path)) as pipeline, http_served(pipeline, tmp_path) as address:
        promising = connect_silently(address, 20, HEAD)  # ten megabytes announced, none sent
        (honest,) = connect_silently(address, 1, HEAD.replace(b"500000", b"0"))
        assert honest.recv(1000).startswith(b"HTTP/1.1 200")
        for client in promising:
            client.sendall(bytes(400_000))
        answers = []
        for client in promising:
            client.settimeout(1)
            with contextlib.suppress(TimeoutError):
                answers.append(client.recv(1000)[:12])
        assert answers.count(b"HTTP/1.1 503") >= 10
        for client in (*promising, honest):
            client.close()


def test_a_grpc_client_that_is_gone_half_way_leaves_nothing_behind(receiver: Receiver) -> None:
    """Half-open connections, cut inside a message: closed, and others are served."""
    before = num_files(receiver)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
    sockets = connect_silently(receiver.grpc, 100, preface)
    receiver.export(traces(span(7)).SerializeToString())
    for client in sockets:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close with a reset
        client.close()
    deadline = time.monotonic() + 10
    while num_files(receiver) > before + 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert num_files(receiver) <= before + 10


def test_huge_spans_are_stored_whole(receiver: Receiver) -> None:
    """A fifty-megabyte attribute, a hundred thousand attributes, half a million events: within the limit, so kept."""
    long, wide, eventful = (span(number, name="huge", trace_id=b"H" * 16) for number in (1, 2, 3))
    long.attributes.add(key="long").value.string_value = "x" * (50 << 20)
    for number in range(100_000):
        wide.attributes.add(key=f"key {number}").value.int_value = number
    for number in range(500_000):
        eventful.events.add(name="e", time_unix_nano=number)
    for huge in (long, wide, eventful):
        receiver.export(traces(huge).SerializeToString(), timeout_s=60)

    rows = receiver.sql(
        """
        select
            length(attributes->>'long') as longest,
            len(json_keys(attributes)) as attributes,
            coalesce(json_array_length(events), 0) as events
        from spans
        where trace_id = repeat('48', 16)
        order by span_id
        """
    )
    assert [row["longest"] for row in rows] == [50 << 20, None, None]
    assert [row["attributes"] for row in rows][1] == 100_000
    assert [row["events"] for row in rows][2] == 500_000
    assert resident_mb(receiver) < 3000


def test_times_are_stored_as_sent(receiver: Receiver) -> None:
    """Ten years off, ended before it began, zero: the day of receipt decides the file, so none goes astray."""
    ten_years = 3650 * DAY_NS
    now = time.time_ns()
    times_sent = [(now - ten_years, now - ten_years), (now + ten_years, now + ten_years), (now, now - 10**9), (0, 0)]
    skewed = [
        span(number, trace_id=b"T" * 16, start_time_unix_nano=start_ns, end_time_unix_nano=end_ns)
        for number, (start_ns, end_ns) in enumerate(times_sent, start=1)
    ]
    assert receiver.export(traces(*skewed).SerializeToString()) == b""

    rows = receiver.sql("select start_ns, end_ns from spans where trace_id = repeat('54', 16) order by span_id")
    assert [(row["start_ns"], row["end_ns"]) for row in rows] == times_sent


def test_a_herd_that_comes_back_at_once_is_served(tmp_path: Path) -> None:
    """Two hundred clients find the receiver again after its restart; none waits for ten seconds, as an SDK would."""
    data = tmp_path / "data"
    first = start(data)
    address = first.grpc
    first.kill()
    with contextlib.ExitStack() as stack:
        channels = [
            stack.enter_context(grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]))
            for _ in range(200)
        ]
        bodies = [traces(span(number)).SerializeToString() for number in range(1, 201)]
        waiting = [
            channel.unary_unary(TRACES).future(body, timeout=120, wait_for_ready=True)
            for channel, body in zip(channels, bodies, strict=True)
        ]
        with running(data, "--grpc", address):
            deadline = time.monotonic() + within(10)
            assert [future.result(deadline - time.monotonic()) for future in waiting] == [b""] * 200
    assert stored(data) == list(range(1, 201))


# --- the end


def test_sigterm_under_load_drains_and_loses_nothing(tmp_path: Path) -> None:
    """Every request that was answered OK has landed when the process ends with 0, within ten seconds."""
    receiver = start(tmp_path / "data")
    numbers = itertools.count(1)
    clients = [Client(receiver.grpc, numbers) for _ in range(8)]
    for client in clients:
        client.start()
    deadline = time.monotonic() + 120
    while sum(len(client.acknowledged) for client in clients) <= 100 and time.monotonic() < deadline:
        time.sleep(0.05)
    receiver.process.send_signal(signal.SIGTERM)
    status = receiver.process.wait(timeout=within(10))
    for client in clients:
        client.join()

    assert status == 0
    acknowledged = set().union(*(client.acknowledged for client in clients))
    sent = set().union(*(client.sent for client in clients))
    assert len(acknowledged) > 100
    assert acknowledged <= set(stored(tmp_path / "data")) <= sent
    with running(tmp_path / "data") as again:
        assert "replayed_requests=0" in again.log.read_text()


def test_a_landing_thread_that_meets_the_unexpected_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in landing costs a warning with type and place, no thread and no span."""
    pipeline = Pipeline(tmp_path, land_every_s=0.01)
    land = pipeline.store.land
    with monkeypatch.context() as patched:
        patched.setattr(pipeline.store, "land", lambda **_: {}["secret prompt"])
        submit(pipeline, 1)
        time.sleep(0.2)
        assert pipeline.backlog_bytes > 0
    assert pipeline.store.land == land
    pipeline.close()

    assert stored(tmp_path) == [1]


def test_a_logged_request_that_cannot_be_decoded_is_kept_aside_without_a_word_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The narration has the error's type and place; the bytes are in quarantine; what came with it is stored."""
    canary = "kanarienvogel"
    decode = receiver_pipeline.decode_record

    def fails_on_canary(record: Record) -> Decoded:
        if canary.encode() in record.entry.body:
            raise ValueError(f"cannot read {canary}")
        return decode(record)

    monkeypatch.setattr("receiver.pipeline.decode_record", fails_on_canary)
    with contextlib.closing(Pipeline(tmp_path, land_every_s=0.05)) as pipeline:
        submit(pipeline, 1)
        submit(pipeline, 2, name=canary)
        submit(pipeline, 3)
        with pipeline.snapshot():
            assert pipeline.counts["undecodable_requests"] == 1

    said = "".join(capfd.readouterr())
    assert canary not in said
    assert "ValueError" in said
    assert "test_faults.py:" in said
    (kept,) = (tmp_path / "wal" / "quarantine").iterdir()
    assert canary.encode() in kept.read_bytes()
    assert stored(tmp_path) == [1, 3]


def test_grpc_goes_on_while_the_disk_is_slow(tmp_path: Path) -> None:
    """Health is answered while every export waits for its sync."""
    disk = StuckDisk()
    disk.goes_on.set()
    with contextlib.closing(Pipeline(tmp_path, disk=disk)) as pipeline:
        disk.goes_on.clear()
        server = GrpcServer(Intake(pipeline), max_request_bytes=1 << 20)
        port = server.start("127.0.0.1:0")
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                body = traces(span(1)).SerializeToString()
                waiting = [channel.unary_unary(TRACES).future(body, timeout=120) for _ in range(8)]
                channel.unary_unary("/grpc.health.v1.Health/Check")(
                    HealthCheckRequest().SerializeToString(), timeout=60
                )
                assert not any(future.done() for future in waiting)
                disk.goes_on.set()
                assert [future.result() for future in waiting] == [b""] * 8
        finally:
            disk.goes_on.set()
            server.stop(1)


@pytest.mark.parametrize("method", ["_land", "_digest"])
def test_a_receiver_whose_thread_has_died_ends_with_1(tmp_path: Path, method: str) -> None:
    """A service manager starts it anew; until it has ended it is not ready."""
    program = (
        "import sys; from receiver.pipeline import Pipeline; "
        f"setattr(Pipeline, {method!r}, lambda self: sys.exit('secret')); "
        "from spanloop.cli import main; main()"
    )
    arguments = ["receiver", "run", "--data", str(tmp_path), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)

    assert ended.returncode == 1
    assert "has died of SystemExit" in ended.stderr
    assert "secret" not in ended.stderr
    assert not (tmp_path / "receiver.json").exists()
