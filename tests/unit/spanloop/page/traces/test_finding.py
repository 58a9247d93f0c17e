"""A list shows every trace that is wanted once, page by page."""

import asyncio
from dataclasses import replace

import pytest

from spanloop.page.traces import finding
from spanloop.page.traces.finding import AFTER_ROOT_NS, Found, find_traces
from spanloop.page.traces.wanted import Wanted, read_cursor
from tests.unit.spanloop.page.traces.asked import Asked, Part


def find(asked: Asked, wanted: Wanted) -> Found:
    return asyncio.run(find_traces(asked.visit, wanted))


def pages(asked: Asked, wanted: Wanted) -> list[list[str]]:
    """Return the traces of every page, going on as a visitor does."""
    found: list[list[str]] = []
    while True:
        page = find(asked, wanted)
        assert page.problem is None
        found.append([row["trace_id"] for row in page.rows])
        if not page.next:
            return found
        wanted = replace(wanted, before=read_cursor(page.next))


PARTS: list[Part] = [(f"t{number}", 10**10 + number // 2, 10**10 + number // 2, None) for number in range(7)]


def test_pages_hold_each_trace_once() -> None:
    """Also where several begin in the instant at which a page ends; the last one says that it is."""
    assert pages(Asked(PARTS), Wanted(limit=2)) == [["t6", "t5"], ["t4", "t3"], ["t2", "t1"], ["t0"]]
    assert pages(Asked(PARTS), Wanted(limit=7)) == [[f"t{number}" for number in range(6, -1, -1)]]


def test_parts_of_a_trace_are_summed_and_it_stands_at_its_first_root() -> None:
    """A trace is stored in parts: what came later does not put it into the list again."""
    parts: list[Part] = [
        ("a", 10**10, 10**10, None),
        ("a", 10**10 + 3, 10**10 + 3, 10**10 + 4),
        ("b", 10**10 + 1, 10**10 + 1, None),
    ]

    page = find(Asked(parts), Wanted())

    assert [(row["trace_id"], row["num_spans"], row["num_errors"]) for row in page.rows] == [("b", 1, 0), ("a", 2, 1)]


def test_what_comes_long_after_the_root_is_not_counted_in_a_list() -> None:
    """The trace's own page counts all."""
    parts: list[Part] = [
        ("a", 10**10, 10**10, None),
        ("a", 10**10 + AFTER_ROOT_NS + 10, None, 10**10 + AFTER_ROOT_NS + 10),
    ]

    (row,) = find(Asked(parts), Wanted()).rows

    assert (row["num_spans"], row["num_errors"]) == (1, 0)


@pytest.mark.parametrize(("status", "traces"), [("ok", ["b"]), ("error", ["a"]), ("rootless", ["c"])])
def test_a_status_shows_the_traces_that_have_it(status: str, traces: list[str]) -> None:
    """An error, none, or no root."""
    parts: list[Part] = [
        ("a", 10**10, 10**10, 10**10),
        ("b", 10**10 + 1, 10**10 + 1, None),
        ("c", 10**10 + 2, None, None),
    ]

    assert pages(Asked(parts), Wanted(status=status)) == [traces]


def test_a_root_that_came_later_takes_a_trace_off_the_list_of_those_without() -> None:
    """It is in another part, which began later."""
    parts: list[Part] = [("a", 10**10, None, None), ("a", 10**10 + 5, 10**10 + 5, None)]

    assert pages(Asked(parts), Wanted(status="rootless")) == [[]]


def test_among_calls_a_trace_stands_at_its_newest_that_is_wanted() -> None:
    """Once, however many of its calls are."""
    calls = [("a", 10**10, "yes"), ("b", 10**10 + 1, "yes"), ("a", 10**10 + 2, "yes"), ("b", 10**10 + 3, "no")]

    asked = Asked([("a", 10**10, 10**10, None)], calls)

    assert pages(asked, Wanted(text="yes", limit=1)) == [["a"], ["b"]]
    (first, _) = find(asked, Wanted(text="yes")).rows
    assert (first["at_ns"], first["root_name"]) == (10**10 + 2, "a")


def test_a_call_whose_spans_are_gone_is_listed_all_the_same() -> None:
    """Under no name."""
    (row,) = find(Asked(calls=[("a", 10**10, "yes")]), Wanted(agent="a")).rows

    assert (row["trace_id"], row["root_name"], row["num_errors"]) == ("a", None, 0)


def test_when_time_runs_out_it_says_so_and_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a filter leaves out takes long to look through."""
    monkeypatch.setattr(finding, "BUDGET_S", -1.0)
    many: list[Part] = [(f"t{number:03}", 10**10 + number, 10**10 + number, 10**10) for number in range(100)]

    page = find(Asked(many), Wanted(status="ok"))

    assert (page.rows, page.is_whole) == ([], False)
    assert read_cursor(page.next)[1] == "t040"


def test_a_question_that_failed_is_told() -> None:
    """And no rows are made up."""
    asked = Asked()
    asked.database.execute("drop table trace_parts")

    page = find(asked, Wanted())

    assert page.problem is not None
    assert "trace_parts" in (page.problem.problem or "")
    assert page.rows == []
