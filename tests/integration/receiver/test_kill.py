"""SIGKILL at random instants: acknowledged ⊆ stored ⊆ sent, and each span once."""

import itertools
import random
import threading
import time
from pathlib import Path

import grpc
import pytest

from receiver.schema import connect
from tests.export_requests import logs, span, traces
from tests.integration.receiver.processes import LOGS, TRACES, start
from tests.scale import times

pytestmark = [pytest.mark.integration, pytest.mark.long]

NUM_KILLS = times(short=30, long=1000)
CHECK_EVERY = times(short=5, long=20)
"""Kills between two looks at everything stored, without a receiver in between."""
SPANS_A_REQUEST = 20


class Client(threading.Thread):
    """Sends spans as fast as it is answered, until the receiver is gone; remembers what was sent and acknowledged."""

    def __init__(self, address: str, numbers: "itertools.count[int]") -> None:
        super().__init__()
        self.sent: set[int] = set()
        self.acknowledged: set[int] = set()
        self._address = address
        self._numbers = numbers

    def run(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            export = channel.unary_unary(TRACES)
            while True:
                batch = [next(self._numbers) for _ in range(SPANS_A_REQUEST)]
                self.sent.update(batch)
                body = traces(*(span(number, name="x" * 300) for number in batch)).SerializeToString()
                try:
                    export(body, timeout=10)
                except grpc.RpcError:
                    return
                self.acknowledged.update(batch)


@pytest.mark.timeout(times(short=900, long=7200))  # most of it is starting receivers, which a busy machine makes slow
def test_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    """Through the log, decoding and landing; now and then the files are read without a receiver in between."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    numbers = itertools.count(1)
    sent: set[int] = set()
    acknowledged: set[int] = set()
    for kill in range(NUM_KILLS):
        receiver = start(tmp_path / "data", "--land-every-s", "0.1")
        clients = [Client(receiver.grpc, numbers) for _ in range(3)]
        for client in clients:
            client.start()
        time.sleep(chance.uniform(0.02, 0.4))
        receiver.kill()
        for client in clients:
            client.join()
            sent |= client.sent
            acknowledged |= client.acknowledged
        if kill % CHECK_EVERY == CHECK_EVERY - 1:
            check(tmp_path / "data", acknowledged, sent, seed)
    assert len(acknowledged) > NUM_KILLS * SPANS_A_REQUEST


def check(data: Path, acknowledged: set[int], sent: set[int], seed: int) -> None:
    reader = connect(data)
    try:
        stored = reader.query("select span_id from spans")["span_id"].to_pylist()
    finally:
        reader.close()
    numbers = {int(span_id, 16) for span_id in stored}
    assert len(stored) == len(numbers), f"doubled, seed {seed}"
    assert acknowledged <= numbers, f"lost {len(acknowledged - numbers)}, seed {seed}"
    assert numbers <= sent, f"invented, seed {seed}"


def test_log_records_survive_a_kill_once(tmp_path: Path) -> None:
    """Replay gives a log record the same place in the order of receipt."""
    receiver = start(tmp_path / "data", "--land-every-s", "30")
    for number in range(10):
        receiver.export(logs(f"record {number}", "second").SerializeToString(), LOGS)
    receiver.kill()

    for _ in range(2):
        reader = connect(tmp_path / "data")
        rows = reader.query("select body, received_seq, record_index from log_records order by 2, 3").to_pylist()
        reader.close()
        assert [row["body"] for row in rows[::2]] == [f'"record {number}"' for number in range(10)]
        assert [row["record_index"] for row in rows] == [0, 1] * 10
