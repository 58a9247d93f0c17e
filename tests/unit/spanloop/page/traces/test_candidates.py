"""Candidates come newest first, each stretch once, however many begin in one instant."""

import asyncio
from typing import Any

import pytest

from spanloop.page.traces import candidates as module
from spanloop.page.traces.candidates import candidates
from spanloop.page.traces.wanted import Wanted
from tests.unit.spanloop.page.traces.asked import Asked


def all_of(asked: Asked, wanted: Wanted) -> tuple[list[str], list[Any]]:
    """Return the traces in the order they came, and where each part ended."""

    async def collect() -> tuple[list[str], list[Any]]:
        traces, reached = [], []
        async for some in candidates(asked.visit, wanted):
            assert some.answer.problem is None
            traces += [row["trace_id"] for row in some.rows]
            reached.append(some.reached)
        return traces, reached

    return asyncio.run(collect())


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a few rows be many."""
    for name, value in (("BATCH", 2), ("MOST_BATCH", 3), ("WINDOW", 2), ("TEXT_WINDOW", 2)):
        monkeypatch.setattr(module, name, value)


NAMES = [f"t{number}" for number in range(8)]


@pytest.mark.parametrize("step", [1, 0])
@pytest.mark.parametrize("status", ["", "error", "rootless"])
def test_every_trace_comes_once_and_newest_first(status: str, step: int) -> None:
    """Also where all began in one nanosecond; those of another kind do not come."""
    starts = [100 + step * number for number in range(8)]
    parts = [
        (name, at, None if status == "rootless" else at, at if status == "error" else None)
        for name, at in zip(NAMES, starts, strict=True)
    ]
    other = ("x", 103, 103, None) if status else ("x", 103, None, None)

    traces, reached = all_of(Asked([*parts, other]), Wanted(status=status))

    assert traces == NAMES[::-1]
    assert reached[-1] is None


def test_bounds_of_time_are_kept_on_every_way() -> None:
    """Both ends belong to it."""
    parts = [(name, 100 + number, 100 + number, None) for number, name in enumerate(NAMES)]
    calls = [(name, 100 + number, "words") for number, name in enumerate(NAMES)]
    asked = Asked(parts, calls)

    for wanted in (
        Wanted(since_ns=102, until_ns=104),
        Wanted(since_ns=102, until_ns=104, agent="a"),
        Wanted(since_ns=102, until_ns=104, text="word"),
    ):
        assert all_of(asked, wanted)[0] == ["t4", "t3", "t2"]


@pytest.mark.parametrize("step", [1, 0])
def test_words_are_found_stretch_by_stretch_to_the_end(step: int) -> None:
    """Calls without them lie between, and several calls of a trace name it several times."""
    calls = [(name, 100 + step * number, "yes" if number % 3 == 0 else "no") for number, name in enumerate(NAMES)]

    traces, reached = all_of(Asked(calls=calls), Wanted(text="YES"))

    assert traces == ["t6", "t3", "t0"]
    assert reached[-1] is None


def test_a_service_and_a_project_narrow_what_is_read() -> None:
    """In the statement itself, so that others cost no reading."""
    asked = Asked([("a", 1, 1, None)])

    assert all_of(asked, Wanted(service="shop", project="p"))[0] == ["a"]
    assert all_of(asked, Wanted(service="bank"))[0] == []
    assert all_of(asked, Wanted(project="q", status="rootless"))[0] == []


def test_nothing_is_a_page_that_ends() -> None:
    """No rows at all."""
    for wanted in (Wanted(), Wanted(status="rootless"), Wanted(text="x"), Wanted(agent="a")):
        assert all_of(Asked(), wanted) == ([], [None])
