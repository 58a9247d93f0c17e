"""What messages and other spans tell of a tool's execution that its own span leaves out."""

from etl.calls.completing.tools import complete_arguments, complete_tools
from etl.dialects.spans import ToolFact
from tests.unit.etl.calls.made import heard, ran, replied, said, seen

ASKED = ("c1", "look", {"at": "sky"})


def test_a_bare_execution_is_told_by_the_messages_around_it() -> None:
    """Its arguments by the answer that asked, its result by the request that repeats it."""
    tool = ran(1, call_id="c1")
    calls = [
        seen(0, output=[replied(None, ASKED)]),
        seen(2, input=[said("assistant", None, ASKED), heard("blue", "c1")]),
    ]

    complete_tools([tool], calls, [])

    assert (tool.arguments, tool.result, tool.error) == ({"at": "sky"}, "blue", None)


def test_what_its_own_span_has_stands() -> None:
    """Messages may be rewritten; an execution that failed did not return what the model was told instead."""
    own = ran(1, call_id="c1", arguments={"at": "sea"}, result="grey")
    broken = ran(2, call_id="c2", error="ValueError('lost')")
    told = seen(3, input=[said("assistant", None, ASKED), heard("blue", "c1"), heard("sorry", "c2")])

    complete_tools([own, broken], [told], [])

    assert (own.arguments, own.result) == ({"at": "sea"}, "grey")
    assert (broken.result, broken.error) == (None, "lost")


def test_other_spans_tell_before_messages_do_and_in_parts() -> None:
    """Facts of several spans add up; a result that says it is an error is one."""
    tool = ran(1, call_id="c1")
    span = seen(5).span
    facts = [
        (span, ToolFact("c1", arguments={"at": "moon"})),
        (span, ToolFact("c1", result='{"isError": true, "error": "fog"}')),
    ]

    complete_tools([tool], [seen(2, input=[heard("blue", "c1")])], facts)

    assert (tool.arguments, tool.result, tool.error) == ({"at": "moon"}, None, "fog")


def test_an_id_that_was_used_again_tells_of_neither_execution() -> None:
    """Servers that number every answer's calls anew: two answers asked for different things under one id."""
    tools = [ran(1, call_id="c1"), ran(3, call_id="c1")]
    calls = [seen(0, output=[replied(None, ASKED)]), seen(2, output=[replied(None, ("c1", "look", {"at": "sea"}))])]

    complete_tools(tools, [*calls, seen(4, input=[heard("blue", "c1")])], [])

    assert [(tool.arguments, tool.result) for tool in tools] == [(None, None)] * 2


def test_a_history_that_holds_one_id_twice_tells_of_neither() -> None:
    """The same tool with the same arguments: nothing says whose the result is."""
    tool = ran(1, call_id="c1")
    history = [
        said("assistant", None, ASKED),
        heard("blue", "c1"),
        said("assistant", None, dict_copy()),
        heard("red", "c1"),
    ]

    complete_tools([tool], [seen(2, input=history)], [])

    assert (tool.arguments, tool.result) == (None, None)


def dict_copy() -> tuple[str, str, dict[str, str]]:
    return "c1", "look", {"at": "sky"}


def test_ids_of_another_trace_are_others() -> None:
    """Ids are unique within a trace at best."""
    tool, told = ran(1, call_id="c1"), seen(2, input=[said("assistant", None, ASKED), heard("blue", "c1")])
    told.span.trace_id = "elsewhere"

    complete_tools([tool], [told], [])

    assert (tool.arguments, tool.result) == (None, None)


def test_an_only_argument_that_was_recorded_bare_gets_its_name() -> None:
    """As LangChain passes it; text that fits none of what was asked for stays what it is."""
    call = seen(0, output=[replied(None, ASKED, ("c2", "look", "bare"), ("c3", "find", {"what": "sea"}))])
    bare, other, foreign = ran(1, arguments="sky"), ran(2, arguments="moon"), ran(3, "find", arguments="sky")

    complete_arguments([(tool, call) for tool in (bare, other, foreign)])

    assert [tool.arguments for tool in (bare, other, foreign)] == [{"at": "sky"}, "moon", "sky"]


def test_arguments_come_from_the_one_request_with_the_id() -> None:
    """Two choices that share an id may have asked for different things."""
    tool, twice, uncaused = ran(1, call_id="c1"), ran(2, call_id="c2"), ran(3, call_id="c1")
    call = seen(
        0, output=[replied(None, ASKED, ("c2", "look", {"at": "a"})), replied(None, ("c2", "look", {"at": "b"}))]
    )

    complete_arguments([(tool, call), (twice, call), (uncaused, None)])

    assert [entry.arguments for entry in (tool, twice, uncaused)] == [{"at": "sky"}, None, None]
