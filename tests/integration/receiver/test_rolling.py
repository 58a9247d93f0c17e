"""Receivers behind a balancer, replaced one after the other while spans come: none is lost, none is there twice."""

import itertools
import signal
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from receiver.schema import connect
from tests.export_requests import span, traces
from tests.integration.receiver.processes import Receiver, start

pytestmark = [pytest.mark.integration, pytest.mark.long]

RECEIVERS = 3
CLIENTS = 3
MORE_AFTER = 40
"""Requests each client still sends once all receivers were replaced."""


class Balancer:
    """Sends a trace to its receiver, again and again until it is acknowledged, as a Collector's queue does."""

    def __init__(self, receivers: list[Receiver]) -> None:
        self.receivers = receivers
        self.numbers = itertools.count(1)
        self.acknowledged: set[int] = set()
        self.lock = threading.Lock()
        self.tried_again = 0
        self.away = threading.Event()

    def send(self, done: threading.Event) -> None:
        """Send until told to end, and some more."""
        left = MORE_AFTER
        while left:
            left -= done.is_set()
            with self.lock:
                number = next(self.numbers)
            body = traces(span(number)).SerializeToString()
            while not self.try_once(number, body):
                with self.lock:
                    self.tried_again += 1
            with self.lock:
                self.acknowledged.add(number)

    def try_once(self, number: int, body: bytes) -> bool:
        """Tell whether the receiver of a trace acknowledged it."""
        try:
            self.receivers[number % RECEIVERS].export(body, timeout_s=5)
        except grpc.RpcError as error:
            refusal: Any = error
            assert refusal.code() in {
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
                grpc.StatusCode.CANCELLED,
            }
            self.away.wait(0.05)  # as an exporter's backoff
            return False
        return True


def test_receivers_are_replaced_one_by_one_and_nothing_is_lost(tmp_path: Path) -> None:
    """Each ends in order and another opens its directory; what it had acknowledged is there once, in its own store."""
    data = [tmp_path / f"receiver-{number}" for number in range(RECEIVERS)]
    balancer = Balancer([start(path) for path in data])
    done = threading.Event()
    clients = [threading.Thread(target=balancer.send, args=(done,)) for _ in range(CLIENTS)]
    try:
        for client in clients:
            client.start()
        for number in range(RECEIVERS):
            old = balancer.receivers[number]
            old.process.send_signal(signal.SIGTERM)
            assert old.process.wait(60) == 0
            balancer.receivers[number] = start(data[number])
    finally:
        done.set()
        for client in clients:
            client.join()
        for receiver in balancer.receivers:
            receiver.process.send_signal(signal.SIGTERM)
            receiver.process.wait(60)

    stored = [number for path in data for number in _numbers(path)]
    assert len(stored) == len(set(stored)), "once each"
    assert set(stored) == balancer.acknowledged
    assert balancer.tried_again > 0, "some came while theirs was away"


def _numbers(data: Path) -> list[int]:
    reader = connect(data)
    try:
        found = reader.query("select span_id from spans")["span_id"].to_pylist()
    finally:
        reader.close()
    return [int(span_id, 16) for span_id in found]
