"""A disk that fills up, under a real receiver where a small file system can be mounted, and on a simulated one."""

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from receiver.decode.otlp import Signal, read_protobuf
from receiver.decode.refusals import Overloaded
from receiver.log.disk import OsDisk, Space
from receiver.pipeline import Pipeline
from receiver.schema import connect
from tests.export_requests import span, traces
from tests.integration.receiver.processes import TRACES, Receiver, running, start
from tests.small_disk import small_disk

pytestmark = [pytest.mark.integration, pytest.mark.long]

DISK_MB = 64
SPANS_A_REQUEST = 250


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 64 MiB; the simulated disk below is tested where that cannot be."""
    with small_disk(tmp_path / "disk", DISK_MB) as place:
        yield place


class Sender:
    """Sends new spans until some requests in a row were refused, and remembers which were acknowledged."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self._sent = 0

    def fill(self, receiver: Receiver, *, until_refused: int, at_most: int = 400) -> Counter[grpc.StatusCode]:
        codes: Counter[grpc.StatusCode] = Counter()
        refused_in_a_row = 0
        with grpc.insecure_channel(receiver.grpc) as channel:
            export = channel.unary_unary(TRACES)
            for _ in range(at_most):
                numbers = range(self._sent + 1, self._sent + 1 + SPANS_A_REQUEST)
                self._sent += SPANS_A_REQUEST
                body = traces(*(span(number, name=os.urandom(400).hex()) for number in numbers)).SerializeToString()
                try:
                    export(body, timeout=20)
                except grpc.RpcError as error:
                    codes[error.code()] += 1
                    refused_in_a_row += 1
                    if refused_in_a_row == until_refused:
                        return codes
                else:
                    codes[grpc.StatusCode.OK] += 1
                    refused_in_a_row = 0
                    self.acknowledged += SPANS_A_REQUEST
        return codes


def take_all_space(place: Path) -> Path:
    """Fill a file system to its last byte, as another program would."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return ballast


def stored(data: Path) -> int:
    reader = connect(data)
    try:
        rows = reader.query("select count(*) as n, count(distinct span_id) as ids from spans").to_pylist()
    finally:
        reader.close()
    assert rows[0]["n"] == rows[0]["ids"]
    return int(rows[0]["n"])


def readiness(receiver: Receiver) -> tuple[int, str]:
    status, _, text = receiver.get("/readyz")
    return status, text.decode()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_full_disk_refuses_and_takes_requests_again_once_there_is_space(
    disk: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    """UNAVAILABLE only; queries go on; freed space is used without a restart, and after one that met the full disk."""
    data, sender = disk / "data", Sender()
    ballast = disk / "reclaimable"
    ballast.write_bytes(bytes(20 << 20))
    receiver = start(data, "--land-every-s", "0.1", log=tmp_path / "receiver.log")
    codes = sender.fill(receiver, until_refused=30)
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert readiness(receiver) == (503, "the disk is full: 8 MiB of it are kept for what was taken\n")
    assert sender.acknowledged > 5_000
    assert receiver.sql("select count(*) as n from spans") == [{"n": sender.acknowledged}]
    others = take_all_space(disk)
    assert set(sender.fill(receiver, until_refused=5)) == {grpc.StatusCode.UNAVAILABLE}

    ballast.unlink()
    others.unlink()
    before = sender.acknowledged
    codes = sender.fill(receiver, until_refused=30, at_most=20)
    assert codes[grpc.StatusCode.OK] > 10
    assert readiness(receiver) == (200, "ready\n")
    assert sender.acknowledged > before

    others = take_all_space(disk)
    receiver.process.send_signal(ending)
    receiver.process.wait(timeout=20)
    others.unlink()
    with running(data, "--land-every-s", "0.1", log=tmp_path / "receiver.log") as again:
        before = sender.acknowledged
        sender.fill(again, until_refused=30, at_most=5)
        assert sender.acknowledged > before
        assert again.sql("select count(*) as n from spans") == [{"n": sender.acknowledged}]
    assert stored(data) == sender.acknowledged


class ShrinkingDisk(OsDisk):
    """A disk that says how much is free as it is told."""

    def __init__(self) -> None:
        self.free_bytes = 1 << 40

    def space(self, directory: Path) -> Space:  # noqa: ARG002 - one disk
        return Space(1 << 40, self.free_bytes)


def request(number: int) -> bytes:
    body: bytes = traces(span(number)).SerializeToString()
    return body


def test_room_for_small_requests_is_no_room_while_large_ones_are_refused(tmp_path: Path) -> None:
    """The receiver is ready again once it would take such a request as it last refused."""
    disk = ShrinkingDisk()
    large = traces(span(1, name="x" * (1 << 20))).SerializeToString()
    with contextlib.closing(Pipeline(tmp_path, disk=disk, reserve_bytes=10 << 20)) as pipeline:
        disk.free_bytes = 11 << 20
        assert pipeline.refusal is None
        with pytest.raises(Overloaded):
            pipeline.submit(read_protobuf(Signal.TRACES, large), "default")
        assert pipeline.refusal is not None
        disk.free_bytes = 13 << 20
        assert pipeline.refusal is None


def test_requests_are_refused_while_the_reserve_is_all_that_is_free(tmp_path: Path) -> None:
    """The reserve is for landing; a client is told at once, not after a wait for the backlog."""
    disk = ShrinkingDisk()
    pipeline = Pipeline(tmp_path, disk=disk, reserve_bytes=10 << 20, land_every_s=0.05)
    try:
        pipeline.submit(read_protobuf(Signal.TRACES, request(1)), "default").result(5)
        disk.free_bytes = 10 << 20
        with pytest.raises(Overloaded, match="10 MiB of it are kept"):
            pipeline.submit(read_protobuf(Signal.TRACES, request(2)), "default")
        assert "10 MiB of it are kept" in str(pipeline.refusal)
        disk.free_bytes = 11 << 20
        assert pipeline.refusal is None
        pipeline.submit(read_protobuf(Signal.TRACES, request(3)), "default").result(5)
    finally:
        pipeline.close()
