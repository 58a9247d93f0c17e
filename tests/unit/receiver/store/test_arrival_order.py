"""Clients send again and networks reorder: what is stored does not depend on it."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.export_requests import span
from tests.scale import times
from tests.unit.receiver.store.test_landing import Landing

NUM_SPANS = 8


def sent(chance: random.Random) -> list[list[Any]]:
    """Return requests with spans in several versions, some sent twice and in pieces."""
    spans = [
        span(number, name=f"version {version}", seconds=1.0 + chance.randrange(3))
        for number in range(1, NUM_SPANS + 1)
        for version in range(chance.choice([1, 1, 1, 2, 3]))
    ]
    spans += chance.choices(spans, k=6)
    chance.shuffle(spans)
    requests = []
    while spans:
        size = chance.randrange(1, 5)
        requests.append(spans[:size])
        del spans[:size]
    return requests


@pytest.mark.parametrize("seed", range(times(short=2, long=60)))
def test_any_order_and_repetition_of_requests_gives_the_same_rows(tmp_path: Path, seed: int) -> None:
    """Landed between requests or not, once or several times: one row a span, the same one."""
    requests = sent(random.Random(seed))
    stored = []
    for attempt in range(3):
        chance = random.Random(1000 * seed + attempt)
        landing = Landing(tmp_path / str(attempt))
        for request in chance.sample(requests, len(requests)) + chance.choices(requests, k=3):
            landing.arrive(*request)
            if chance.random() < 0.3:
                landing.store.land(max_bytes=chance.choice([None, 1]))
        rows = landing.query("select span_id, name, end_ns from spans order by all")
        landing.store.close()
        assert len(rows) == len({row[0] for row in rows}) == NUM_SPANS
        stored.append(rows)

    assert stored[0] == stored[1] == stored[2]
