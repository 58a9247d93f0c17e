"""Recordings of real instrumentation libraries come out as what was truly on the wire."""

import pytest

from tests.held import Held
from tests.recordings import FRAMEWORKS, PAGE, compare, coverage, load, page_with_table, run, scenarios
from tests.spans import logs_frame, span, spans_frame
from tests.variants import wrong

RECORDINGS = scenarios()
OF_FRAMEWORKS = scenarios(FRAMEWORKS)


@pytest.mark.parametrize(("producer", "scenario"), RECORDINGS, ids=["-".join(pair) for pair in RECORDINGS])
def test_every_recorded_call_is_recovered_once(producer: str, scenario: str) -> None:
    """No call is lost, none comes twice, none is made up."""
    comparison = compare(producer, scenario)

    lost = comparison.expected - comparison.recovered
    assert (lost, comparison.duplicates, comparison.invented) == (0, 0, 0)


@pytest.mark.parametrize(("producer", "scenario"), OF_FRAMEWORKS, ids=["-".join(pair) for pair in OF_FRAMEWORKS])
def test_what_a_framework_recorded_is_what_was_on_the_wire(producer: str, scenario: str) -> None:
    """Every call comes out once, none is made up, and no value is another than the model server had noted."""
    comparison = compare(producer, scenario, FRAMEWORKS)

    assert (comparison.recovered, comparison.duplicates, comparison.invented) == (comparison.expected, 0, 0)
    assert comparison.differences == []


@pytest.mark.parametrize(("producer", "scenario"), OF_FRAMEWORKS, ids=["-".join(pair) for pair in OF_FRAMEWORKS])
def test_no_transition_of_a_framework_is_another_exchange(producer: str, scenario: str) -> None:
    """State and action are what passed: a stream that was left, or one whose calls were dropped, makes none."""
    spans, logs, expected = load(producer, scenario, FRAMEWORKS)

    assert wrong(run(spans, logs), expected) == []


def test_the_coverage_page_is_current() -> None:
    """Every field of every producer comes out as far as the page says: no less, and no more without saying so."""
    page = PAGE.read_text()

    assert page_with_table(page) == page, "run `python -m tests.recordings`"


@pytest.mark.parametrize("producer", sorted({producer for producer, _ in RECORDINGS}))
def test_response_ids_are_exact(producer: str) -> None:
    """What duplicates are found by is never wrong, only absent."""
    total = coverage()[producer]

    differing = [path for path, _, got in total.differences if path.endswith("/response_id") and got is not None]
    assert differing == []


def test_a_value_is_held_where_it_stands_by_itself() -> None:
    """A number inside an id, a word inside a word, and a name without its value are no facts."""
    attributes = {"id": "a84b", "scope": "autogen", "x.expression": "12*7", "args": '{"city": "Oslo"}', "gen_ai.n": 8}
    held = Held(spans_frame([span("s", attributes=attributes)]), logs_frame())

    assert not held("84", "text")
    assert not held("auto", "tool_choice")
    assert not held({"expression": "12*7"}, "arguments")
    assert not held(8, "cached_input_tokens")
    assert not held(True, "streamed")
    assert not held("", "text")
    assert held({"city": "Oslo"}, "arguments")
    assert held("12*7", "text")
    assert held({"role": "user", "text": "Oslo"}, "input")
    assert not held({"role": "tool", "text": "Oslo"}, "input")
