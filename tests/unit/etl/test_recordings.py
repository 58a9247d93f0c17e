"""Recordings of real instrumentation libraries come out as what was truly on the wire."""

import pytest

from tests.recordings import PAGE, compare, coverage, page_with_table, scenarios

WITHOUT_CALLS = {"embeddings"}
"""Scenarios whose only calls are not model calls in the sense of a policy."""

RECORDINGS = scenarios()


@pytest.mark.parametrize(("producer", "scenario"), RECORDINGS, ids=["-".join(pair) for pair in RECORDINGS])
def test_every_recorded_call_is_recovered_once(producer: str, scenario: str) -> None:
    """No call is lost, none comes twice, none is made up."""
    comparison = compare(producer, scenario)

    lost = 0 if scenario in WITHOUT_CALLS else comparison.expected - comparison.recovered
    assert (lost, comparison.duplicates, comparison.invented) == (0, 0, 0)


def test_the_coverage_page_is_current() -> None:
    """Every field of every producer comes out as far as the page says: no less, and no more without saying so."""
    page = PAGE.read_text()

    assert page_with_table(page) == page, "run `python -m tests.recordings`"


@pytest.mark.parametrize("producer", sorted(coverage()))
def test_response_ids_are_exact(producer: str) -> None:
    """What duplicates are found by is never wrong, only absent."""
    total = coverage()[producer]

    wrong = [path for path, _, got in total.differences if path.endswith("/response_id") and got is not None]
    assert wrong == []
