"""Answers that nobody used."""

from tests.spans import tool
from tests.unit.etl.rewards.signals.episode import measured, step, transitions


def test_an_answer_nobody_used() -> None:
    """Used are answers in a later request, and those whose tools ran."""
    rows = transitions(
        step("a", start=1, asked=[("user", "which?")], said="lost"),
        step("b", start=3, said="kept"),
        step("c", start=5, said=None, calls=[("1", "search", {"q": 1})]),
        tool("t", parent="root", tool_name="search", call_id="1", start=6.5, end=7),
        step("d", start=8, asked=[("user", "hi"), ("assistant", "kept"), ("user", "and?")]),
    )

    assert measured(rows, "waste") == [-1.0, 0.0, 0.0, None]


LONG = "The train leaves at nine from platform four, and the ticket costs thirty crowns."


def test_a_conversation_that_is_summed_up_wastes_nothing() -> None:
    """The summary is shown the conversation as one text, and the next request the summary among other words."""
    told = f"user: when? assistant: {LONG}"
    rows = transitions(
        step("a", start=1, asked=[("user", "when?")], said=LONG),
        step("sums up", start=3, asked=[("system", "Sum up."), ("user", told)], said="Train at nine,\nplatform four."),
        step("b", start=5, asked=[("system", "So far: Train at nine, platform four. Go on."), ("user", "and back?")]),
        step("c", start=7, asked=[("user", "something else")]),
    )

    assert measured(rows, "waste") == [0.0, 0.0, -1.0, None]
    assert measured(rows, "retry") == [0.0, 0.0, 0.0, 0.0]
