"""Executions that left no span: found once each, of the call that asked for them."""

from typing import Any

from etl.calls.completing.untraced_tools import find_untraced
from etl.dialects.spans import LlmCall, Message, ToolCall
from tests.unit.etl.calls.made import heard, ran, replied, said, seen

LOOK = ("c1", "look", {"at": "sky"})
Found = list[tuple[str | None, str | None, str | None, int | None]]


def found(calls: list[LlmCall], traced: Any = (), episodes: list[int] | None = None) -> Found:
    """Return name, result, error and the index of the cause of each."""
    tools: list[tuple[ToolCall, LlmCall | None]] = find_untraced(calls, traced, episodes or [0] * 9)
    return [(tool.name, tool.result, tool.error, None if cause is None else cause.span.index) for tool, cause in tools]


def round_of(text: str, asked: Any = LOOK, **fields: Any) -> list[Message]:
    return [said("assistant", None, asked), {**heard(text, asked[0]), **fields}]


def test_a_result_in_the_next_request_is_an_execution_of_the_answer_that_asked() -> None:
    """Once, however many later requests repeat it."""
    calls = [seen(0, output=[replied(None, LOOK)]), seen(1, input=round_of("blue")), seen(2, input=round_of("blue"))]

    assert found(calls) == [("look", "blue", None, 0)]


def test_the_same_asked_for_again_ran_again() -> None:
    """Servers number each answer's calls anew: a request with two of the same holds two executions."""
    calls = [
        seen(0, output=[replied(None, LOOK)]),
        seen(1, input=round_of("blue"), output=[replied(None, LOOK)]),
        seen(2, input=[*round_of("blue"), *round_of("grey")]),
    ]

    assert found(calls) == [("look", "blue", None, 0), ("look", "grey", None, 1)]


def test_the_order_of_arguments_makes_no_other_execution() -> None:
    """A loop that parses and dumps them may turn their names around."""
    asked, repeated = ("c1", "look", {"a": 1, "b": 2}), ("c1", "look", {"b": 2, "a": 1})

    assert found([seen(0, output=[replied(None, asked)]), seen(1, input=round_of("x", repeated))]) == [
        ("look", "x", None, 0)
    ]


def test_errors_are_told_by_their_marks() -> None:
    """By the beginning of the text, or by the message's own flag, with or without words."""
    asked = [(f"c{i}", "look", {"i": i}) for i in range(3)]
    history = [
        *round_of("Error: fog", asked[0]),
        *round_of("lost", asked[1], is_error=True),
        *round_of("", asked[2], is_error=True),
    ]

    results = found([seen(0, output=[replied(None, *asked)]), seen(1, input=history)])

    assert [(result, error) for _, result, error, _ in results] == [(None, "fog"), (None, "lost"), (None, "error")]


def test_a_traced_execution_is_not_found_again() -> None:
    """By its cause and id, by its id, by tool and arguments, or by an only argument recorded bare."""
    asker, teller = seen(0, output=[replied(None, LOOK)]), seen(1, input=round_of("blue"))
    by_id = ran(2, call_id="c1")

    for tool, cause in (
        (by_id, asker),
        (by_id, None),
        (ran(2, arguments={"at": "sky"}), None),
        (ran(2, arguments="sky"), None),
        (ran(2), None),
    ):
        assert found([asker, teller], [(tool, cause)]) == []
    assert found([asker, teller], [(ran(2, "find"), None)]) == [("look", "blue", None, 0)]


def test_a_traced_execution_accounts_for_one() -> None:
    """Of two alike the other is still to be found."""
    twice = [said("assistant", None, LOOK, ("c2", *LOOK[1:])), heard("blue", "c1"), heard("grey", "c2")]
    calls = [seen(0, output=[replied(None, LOOK, ("c2", *LOOK[1:]))]), seen(1, input=twice)]

    assert found(calls, [(ran(2, arguments={"at": "sky"}), None)]) == [("look", "grey", None, 0)]


def test_in_a_trace_of_its_own_only_the_last_results_are_new() -> None:
    """Who asked is in another episode; what stands earlier in the request was told there."""
    old, new = ("c0", "look", {"at": "sea"}), LOOK
    call = seen(1, input=[*round_of("grey", old), *round_of("blue", new)])

    assert found([call]) == [("look", "blue", None, None)]
    asker = seen(0, output=[replied(None, LOOK)])
    assert found([asker, call], episodes=[0, 1]) == [("look", "blue", None, None)]


def test_a_history_without_calls_is_read_by_ids_of_answers_before_it() -> None:
    """Of the same agent; an id that no answer has, or only a later one, tells nothing."""
    asker = seen(0, output=[replied(None, LOOK)], agent="scout")
    teller = seen(1, input=[heard("blue", "c1"), heard("?", "c7")], agent="scout")
    stranger = seen(2, input=[heard("red", "c1")], agent="clerk")
    later = seen(3, output=[replied(None, ("c8", "look", {}))], input=[heard("early", "c8")], agent="scout")

    assert found([asker, teller, stranger, later]) == [("look", "blue", None, 0)]


def test_requests_without_ids_tell_of_no_execution() -> None:
    """Nothing says which result is whose."""
    asked = (None, "look", {})

    assert (
        found([seen(0, output=[replied(None, asked)]), seen(1, input=[said("assistant", None, asked), heard("x")])])
        == []
    )
