"""What a list of traces is narrowed to."""

import pytest

from spanloop.page.traces.wanted import MAX_NS, TOP, Wanted, call_conditions, read_cursor, write_cursor


@pytest.mark.parametrize(
    ("wanted", "source"),
    [
        (Wanted(), "roots"),
        (Wanted(service="s", project="p"), "roots"),
        (Wanted(status="error"), "errors"),
        (Wanted(status="rootless"), "rootless"),
        (Wanted(status="rootless", agent="a"), "calls"),
        (Wanted(outcome_to=0.0), "calls"),
        (Wanted(text="x"), "calls"),
    ],
)
def test_candidates_come_from_where_fewest_are(wanted: Wanted, source: str) -> None:
    """What only calls tell needs calls; an outcome of 0 is one."""
    assert wanted.source == source


def test_a_page_begins_after_the_one_before_and_not_later_than_is_wanted() -> None:
    """Whichever is earlier."""
    assert Wanted(before=(5, "a"), until_ns=9).top == (5, "a")
    assert Wanted(before=(5, "a"), until_ns=3).top == (3, "~")
    assert Wanted().top == TOP


def test_every_condition_has_its_value() -> None:
    """In the order of the question marks, in columns of the table that has them."""
    everything = Wanted("s", "a", "m", "v", "ok", "B", -1.0, 1.0, 'say "hi"', "p", since_ns=7)

    of_calls = call_conditions(Wanted(model="m", text="é"))
    of_transitions = call_conditions(everything)

    assert of_calls[0] == "llm_calls"
    assert of_calls[2] == [0, "m", "é", "é"]
    assert of_transitions[0] == "transitions"
    assert of_transitions[2] == [7, "p", "a", "m", "v", "B", -1.0, 1.0, 'say \\"hi\\"', 'say \\"hi\\"']
    for _, where, values in (of_calls, of_transitions):
        assert where.count("?") == len(values)


@pytest.mark.parametrize("at", [(0, ""), (12, "a.b"), (MAX_NS, "~")])
def test_a_cursor_comes_back_from_an_address(at: tuple[int, str]) -> None:
    """Also where the id has a point in it."""
    assert read_cursor(write_cursor(at)) == at


@pytest.mark.parametrize("text", ["", "x.a", "-1.a", "9223372036854775808.a", "1" * 30 + ".a", "\u0663.a"])
def test_what_is_no_cursor_is_the_top(text: str) -> None:
    """An address may be anybody's."""
    assert read_cursor(text) == TOP
