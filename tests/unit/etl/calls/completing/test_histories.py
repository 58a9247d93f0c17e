"""What was said beside tool calls, where a request repeats them without it."""

import pytest

from etl.calls.completing.histories import complete_histories
from etl.dialects.spans import LlmCall, Message
from etl.schema import RejectReason
from tests.unit.etl.calls.made import said, seen

STATUS = (None, "get_status", {"a": 1, "b": 2})
AGAIN = "Let me look again."


def asks(text: str | None, *asked: tuple[str | None, str, object]) -> list[Message]:
    return [said("assistant", text, *(asked or (STATUS,)))]


def conversation(dialect: str, *history: Message) -> tuple[list[LlmCall], LlmCall]:
    """Return a model that asks for the same thing twice, silently and with words, and the request that follows."""
    question = said("user", "How is it?")
    last = seen(2, dialect=dialect, input=[question, *history])
    calls = [
        seen(0, dialect=dialect, input=[question], output=asks(None)),
        seen(1, dialect=dialect, input=[question, *history[:1]], output=asks(AGAIN)),
        last,
    ]
    return calls, last


def texts(call: LlmCall) -> list[str | None]:
    return [message["text"] for message in call.input or ()]


@pytest.mark.parametrize("dialect", ["genai", "adk"])
def test_an_answer_says_nothing_before_it_was_given(dialect: str) -> None:
    """The second call repeats the first, which was silent: what it will say itself is not put in its mouth."""
    calls, _ = conversation(dialect, *asks(None), *asks(None if dialect == "genai" else AGAIN))

    complete_histories(calls)

    assert [texts(calls[1]), calls[1].incomplete] == [["How is it?", None], set()]


def test_of_answers_that_asked_for_the_same_each_keeps_its_words() -> None:
    """In their order, whatever the order of their arguments' names."""
    turned = (None, "get_status", {"b": 2, "a": 1})
    calls, last = conversation("genai", *asks(None), *asks(None, turned))

    complete_histories(calls)

    assert texts(last) == ["How is it?", None, AGAIN]
    assert last.incomplete == set()


def test_where_it_may_have_been_either_the_request_is_not_whole() -> None:
    """The context was compacted: one of two answers is left, and nothing says which."""
    calls, last = conversation("genai", *asks(None))

    complete_histories(calls)

    assert last.incomplete == {RejectReason.CONTRADICTORY}


def test_words_that_a_whole_recording_lacks_were_dropped() -> None:
    """By the agent or by its recorder: the request is not what the model was asked."""
    calls, last = conversation("adk", *asks(None), *asks(None))

    complete_histories(calls)

    assert last.incomplete == {RejectReason.CONTRADICTORY}
    assert texts(last) == ["How is it?", None, None]
