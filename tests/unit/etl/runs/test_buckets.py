"""Buckets: small enough, in the order of receipt, and never dividing what belongs together."""

from hypothesis import given
from hypothesis import strategies as st

from etl.runs.buckets import HARD_LIMIT, SPAN_TEXT, divide, fits
from etl.runs.source import TraceFacts


def facts(
    name: str, *, spans: int = 1, seq: int = 0, text: int = 0, links: tuple[str, ...] = (), gateway: bool = False
) -> TraceFacts:
    start = seq * 10**12
    return TraceFacts(("p", name), spans, text, seq, seq, start, start + 1, gateway, links)


def names(found: list[object]) -> list[list[str]]:
    return [sorted(trace for _, trace in bucket.traces) for bucket in found]  # type: ignore[attr-defined]


def test_a_bucket_is_full_of_spans_or_of_text() -> None:
    """Whichever comes first."""
    rows = [facts("a", spans=2, seq=1), facts("b", spans=2, seq=2), facts("c", text=4 * SPAN_TEXT, seq=3)]

    assert names(divide(rows, [], max_spans=4)) == [["a", "b"], ["c"]]
    assert not fits(rows, max_spans=4)
    assert fits(rows[:2], max_spans=4)


def test_what_shares_an_id_is_in_one_bucket_however_large() -> None:
    """Through any number of links, in one project; and what others say belongs together."""
    rows = [
        facts("a", spans=3, seq=1, links=("s1",)),
        facts("x", spans=3, seq=2),
        facts("b", spans=3, seq=3, links=("s1", "s2")),
        facts("c", spans=3, seq=4, links=("s2",)),
        facts("y", spans=3, seq=5),
    ]

    assert names(divide(rows, [], max_spans=3)) == [["a", "b", "c"], ["x"], ["y"]]
    together = [[("p", "x"), ("p", "y"), ("p", "gone")]]
    assert names(divide(rows, together, max_spans=3)) == [["a", "b", "c"], ["x", "y"]]
    other = TraceFacts(("q", "a"), 3, 0, 1, 1, 0, 1, is_gateway=False, links=("s1",))
    assert names(divide([rows[0], other], [], max_spans=3)) == [["a"], ["a"]]


def test_no_bucket_ends_where_a_gateways_loose_call_may_be_its_neighbours() -> None:
    """They overlap in time; up to a limit, since memory has one."""
    loose = [facts(f"g{number}", spans=2, seq=1, gateway=True) for number in range(2 * HARD_LIMIT)]

    found = divide([facts("client", spans=2, seq=1), *loose], [], max_spans=2)

    assert max(bucket.num_spans for bucket in found) == 2 * HARD_LIMIT
    known = [facts("client", spans=2, seq=1, links=("r",)), facts("g", spans=2, seq=1, links=("r",), gateway=True)]
    assert len(divide([*known, facts("next", spans=2, seq=1)], [], max_spans=4)) == 2


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9), st.sets(st.integers(0, 6), max_size=2)), max_size=20))
def test_every_trace_is_in_one_bucket(rows: list[tuple[int, int, set[int]]]) -> None:
    """And its spans are counted once."""
    made = [
        facts(f"t{number}", spans=spans, seq=seq, links=tuple(f"s{link}" for link in sorted(links)))
        for number, (spans, seq, links) in enumerate(rows)
    ]

    found = divide(made, [], max_spans=7)

    assert sorted(trace for bucket in found for trace in bucket.traces) == sorted(fact.trace for fact in made)
    assert sum(bucket.num_spans for bucket in found) == sum(fact.num_spans for fact in made)
