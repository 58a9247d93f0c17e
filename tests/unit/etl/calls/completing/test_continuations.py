"""Histories whose results of tools lack what asked for them, and what is proven to have stood there."""

from etl.calls.completing.continuations import MOST_EARLIER, complete_continuations
from etl.dialects.spans import LlmCall
from tests.unit.etl.calls.made import heard, ran, replied, said, seen

QUESTION = said("user", "Well?")
LOOK = ("c1", "look", {"at": "sky"})
FIND = ("c2", "find", {"what": "sea"})
WHOLE = [(None, "c1"), ("blue", "c1")]


def shown(call: LlmCall) -> list[tuple[str | None, str | None]]:
    """Return text and id of each message but the first."""
    return [
        (message["text"], next((asked["id"] for asked in message.get("tool_calls") or ()), message.get("tool_call_id")))
        for message in (call.input or [])[1:]
    ]


def test_the_earlier_calls_answer_is_put_back() -> None:
    """The recorder wrote it without its calls; the tool's own span proves the result: nothing is guessed."""
    asker = seen(0, input=[QUESTION], output=[replied(None, LOOK)])
    call = seen(2, input=[QUESTION, said("assistant", None), heard("blue")])

    complete_continuations([call, asker], [(ran(1, call_id="c1", result="blue"), asker)])

    assert (shown(call), call.pieced) == (WHOLE, set())


def test_without_the_tools_own_word_it_is_pieced_together() -> None:
    """So it is where the call was, or where a word stands in the place of its calls that it did not say."""
    asker = seen(0, input=[QUESTION], output=[replied(None, LOOK)])
    untraced, word = (
        seen(1, input=[QUESTION, heard("blue")]),
        seen(2, input=[QUESTION, said("assistant", "look(sky)"), heard("blue")]),
    )

    complete_continuations([asker, untraced, word], [])

    assert [(shown(call), call.pieced) for call in (untraced, word)] == [(WHOLE, {"input"})] * 2


def test_results_that_were_merged_are_taken_from_the_tools() -> None:
    """Two calls, one result's text: the tools' spans have what each gave, failures too."""
    asker = seen(0, input=[QUESTION], output=[replied(None, LOOK, FIND)])
    call = seen(3, input=[QUESTION, heard("blue, fog")])
    tools = [ran(1, call_id="c1", result="blue"), ran(2, "find", "c2", error="fog")]

    complete_continuations([asker, call], [(tool, asker) for tool in tools])

    assert shown(call) == [(None, "c1"), ("blue", "c1"), ("fog", "c2")]
    assert call.pieced == {"input"}


def test_what_nobody_knows_is_left_as_it_was() -> None:
    """No earlier call was asked that, or two were and answered differently, or a result is nowhere."""
    one, other = (seen(i, input=[QUESTION], output=[replied(None, asked)]) for i, asked in enumerate((LOOK, FIND)))
    disputed = seen(2, input=[QUESTION, heard("blue")])
    foreign = seen(3, input=[said("user", "Else?"), heard("blue")])
    stranger = seen(4, input=[QUESTION, heard("blue")], agent="clerk")
    complete_continuations([one, other, disputed, foreign, stranger], [])

    alone = seen(0, input=[QUESTION], output=[replied(None, LOOK, FIND)])
    short = seen(1, input=[QUESTION, heard("blue")])
    complete_continuations([alone, short], [])

    calls = (disputed, foreign, stranger, short)
    assert [(shown(call), call.pieced) for call in calls] == [([("blue", None)], set())] * 4


def test_a_history_that_says_whose_its_results_are_is_not_touched() -> None:
    """By ids, or by their number where the API has no ids at all."""
    ollama = seen(0, input=[QUESTION, said("assistant", None, (None, "look", {})), heard("blue")])
    named = seen(1, input=[QUESTION, said("assistant", None, LOOK), heard("blue", "c1")])
    before = [list(call.input or ()) for call in (ollama, named)]

    complete_continuations([ollama, named], [])

    assert [call.input for call in (ollama, named)] == before


def test_what_was_pieced_together_before_stays_so_in_what_goes_on_from_it() -> None:
    """An earlier answer made of executions is no proof of the request's words."""
    asker = seen(0, input=[QUESTION], output=[replied(None, LOOK)], pieced={"output"})
    call = seen(2, input=[QUESTION, said("assistant", None), heard("blue")])

    complete_continuations([asker, call], [(ran(1, call_id="c1", result="blue"), asker)])

    assert (shown(call), call.pieced) == (WHOLE, {"input"})


def test_a_second_round_goes_on_from_the_first_one_completed() -> None:
    """Calls are completed in the order they began: the one before is whole when the next is looked at."""
    mute = said("assistant", None)
    first = seen(0, input=[QUESTION], output=[replied(None, LOOK)])
    second = seen(2, input=[QUESTION, mute, heard("blue")], output=[replied(None, FIND)])
    third = seen(4, input=[QUESTION, mute, heard("blue"), mute, heard("deep")])
    tools = [(ran(1, call_id="c1", result="blue"), first), (ran(3, "find", "c2", result="deep"), second)]

    complete_continuations([third, second, first], tools)

    assert shown(third) == [*WHOLE, (None, "c2"), ("deep", "c2")]
    assert [call.pieced for call in (second, third)] == [set(), set()]


def test_only_the_latest_calls_of_a_trace_are_looked_at() -> None:
    """A trace of thousands of calls is not searched whole for each of them."""
    asker = seen(0, input=[QUESTION], output=[replied(None, LOOK)])
    others = [seen(i + 1, input=[said("user", str(i))], output=[replied(None, FIND)]) for i in range(MOST_EARLIER)]
    call = seen(MOST_EARLIER + 1, input=[QUESTION, heard("blue")])

    complete_continuations([asker, *others, call], [])

    assert shown(call) == [("blue", None)]
