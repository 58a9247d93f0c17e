"""A store's server that is killed again and again while receivers push their days: every row is there, once.

It runs where `make test-store` has started a server that comes back by itself.
"""

import itertools
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from foundation.store.lease import held
from foundation.store.opening import open_store
from foundation.store.pointer import claim, faults, read_pointer, write_pointer
from receiver.reading.archive import push_days
from receiver.reading.stored import StoredReader
from tests.export_requests import span
from tests.stores import new_url
from tests.unit.receiver.days.three_days import FIRST
from tests.unit.receiver.store.test_landing import DAY, DAY_NS, Landing

PID_FILE = os.environ.get("TEST_GATEWAY_PID_FILE", "")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not PID_FILE, reason="make test-store starts a server that may be killed"),
]

TODAY = FIRST + timedelta(days=4)
TRACES_A_DAY = 16
NUM_KILLS = 6


def days_of(data: Path, number: int) -> Path:
    """Return DATA of a receiver with three sealed days."""
    landing = Landing(data)
    for day in range(3):
        for trace in range(TRACES_A_DAY):
            own = 1 + trace + TRACES_A_DAY * (day + 3 * number)
            landing.arrive(span(own, trace_id=own.to_bytes(16, "big")), received_ns=DAY + day * DAY_NS)
    landing.store.land()
    landing.store.seal(TODAY)
    landing.store.close()
    return data


def kill_in_turns(enough: threading.Event) -> None:
    """Kill the server while it serves, wait until another does, and so on."""
    for _ in range(NUM_KILLS):
        time.sleep(2)
        pid = int(Path(PID_FILE).read_text())
        os.kill(pid, signal.SIGKILL)
        while int(Path(PID_FILE).read_text()) == pid:
            time.sleep(0.05)
    enough.set()


@pytest.mark.timeout(280)
def test_receivers_push_and_commit_through_kills_of_the_server(tmp_path: Path) -> None:
    """Whoever waits for an answer asks again; a write that was done and not answered is found done."""
    data = [days_of(tmp_path / str(number), number) for number in range(3)]
    url, enough = new_url("s3", tmp_path), threading.Event()

    def push(number: int) -> int:
        for count in itertools.count(1):
            push_days(data[number], open_store(f"{url}/{count}"), today=TODAY)
            if enough.is_set():
                return count
        raise AssertionError

    def commit() -> int:
        store = open_store(url)
        for count in itertools.count(1):
            with held(store, "dataset", purpose="a test") as lease:
                pointer = claim(store, "dataset.json", lease.token)
                pointer.facts["commit"] = pointer.facts.get("commit", 0) + 1
                write_pointer(store, "dataset.json", pointer)
            if enough.is_set():
                return count
        raise AssertionError

    with ThreadPoolExecutor() as threads:
        killing = threads.submit(kill_in_turns, enough)
        committing = threads.submit(commit)
        pushes = min(one.result() for one in [threads.submit(push, number) for number in range(3)])
        killing.result()

    assert read_pointer(open_store(url), "dataset.json").facts["commit"] == committing.result()
    for count in range(1, pushes + 1):
        store = open_store(f"{url}/{count}")
        sizes = dict(store.names(""))
        pointers = [key for key in sizes if key.count("/") == 2 and key.endswith(".json")]
        assert len(pointers) == 9
        assert [fault for key in pointers for fault in faults(store, sizes, key, deep=True)] == []
        reader = StoredReader(tmp_path / "reader", [store])
        found = reader.query("select span_id from spans order by 1")["span_id"].to_pylist()
        reader.close()
        assert found == [f"{number + 1:016x}" for number in range(3 * 3 * TRACES_A_DAY)]
