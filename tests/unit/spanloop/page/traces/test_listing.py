"""The list's filters as an address has them, what they offer, and the live tail."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from spanloop.page.traces import listing
from spanloop.page.traces.listing import instant_ns, show, tail
from spanloop.page.traces.wanted import MAX_NS
from tests.unit.spanloop.page.test_visit import visit
from tests.unit.spanloop.page.traces.asked import Asked
from tests.unit.spanloop.page.visiting import ADMIN, Tables, opened, see


@pytest.fixture(autouse=True)
def nothing_offered() -> Iterator[None]:
    yield
    listing._offers.clear()


def tables(*parts: Any) -> Tables:
    made = Tables()
    made.database = Asked(parts).database
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T01:00+01:00", 1_767_225_600 * 10**9),
        ("2026-01-01", 1_767_225_600 * 10**9),
        ("1969-12-31", None),
        ("9999-12-31T23:59", None),
        ("0001-01-01T00:00+23:59", None),
        ("", None),
    ],
)
def test_an_instant_is_in_utc_and_can_be_asked_for(text: str, expected: int | None) -> None:
    """One of another zone is turned; what no column of nanoseconds holds is none."""
    assert instant_ns(text) == expected


def test_what_is_no_value_of_a_filter_filters_nothing() -> None:
    """An address is anything; what is one of its values does."""
    junk = listing.wanted_of(
        visit(status="x", evidence="AB", outcome_from="nan", since="yesterday", until="-", before="?", text="y" * 999)
    )
    wanted = listing.wanted_of(visit(status="ok", evidence="A", outcome_to="0.5"))

    assert (junk.status, junk.evidence, junk.outcome_from, junk.since_ns, junk.until_ns) == ("", "", None, 0, MAX_NS)
    assert len(junk.text) == 200
    assert (wanted.status, wanted.evidence, wanted.outcome_to) == ("ok", "A", 0.5)


def test_filters_offer_what_there_is_and_keep_it_where_it_cannot_be_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each by itself: here no episode was read, so that models alone are offered."""
    asked = tables(("t", 10**10, 10**10, None))
    asked.database.execute(
        "insert into llm_calls (project, trace_id, start_ns, model_returned) values ('p', 't', 1, 'mod')"
    )
    monkeypatch.setattr(listing, "PATIENCE_S", 10.0)

    first = see(show, "/traces", tables=asked).text
    assert 'value="mod"' in first
    asked.database.execute("drop table llm_calls")
    monkeypatch.setattr(listing, "OFFERED_S", 0.0)
    num_asked = len(asked.questions)

    assert 'value="mod"' in see(show, "/traces", tables=asked).text
    assert len(asked.questions) > num_asked


def test_an_event_of_several_lines_is_one_event() -> None:
    """And half a character does not end the tail."""
    assert listing._event("row", "a\nb") == b"event: row\ndata: a\ndata: b\n\n"
    assert listing._event("row", "") == b"event: row\ndata: \n\n"
    assert listing._event("row", "\ud800") == b"event: row\ndata: ?\n\n"


def test_many_who_follow_are_told_to_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """And do not count."""
    monkeypatch.setattr(listing, "_tails", listing.MAX_TAILS)

    seen = see(tail, "/live", tables=tables())

    assert seen.text.startswith("event: trouble\ndata: Too many pages")
    assert listing._tails == listing.MAX_TAILS


def test_a_tail_sends_a_row_once_and_again_when_it_grew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a filter alone; and who has gone is not followed any longer."""
    monkeypatch.setattr(listing, "TAIL_EVERY_S", 0.01)
    now = time.time_ns()
    asked = tables(("grows", now, now, None), ("other", now, now, now))

    async def follow() -> list[int]:
        client = await opened(tail, "/live", tables=asked, data=ADMIN_DATA, visitor=ADMIN)
        try:
            async with client.get("/live?status=ok") as response:
                counts, received = [], b""
                for looks in (2, 4):
                    while received.count(b": here") < looks:
                        received += await response.content.readany()
                    counts.append(received.count(b"event: row"))
                    asked.database.execute(
                        "insert into trace_parts select * replace (end_ns + 7 as end_ns) from trace_parts"
                        " where trace_id = 'grows'"
                    )
                assert b"other" not in received
                while received.count(b": here") < 8:
                    received += await response.content.readany()
                counts.append(received.count(b"event: row"))
            while listing._tails:
                await asyncio.sleep(0.01)
            return counts
        finally:
            await client.close()

    assert asyncio.run(asyncio.wait_for(follow(), 60)) == [1, 2, 3]


ADMIN_DATA = Tables().data
