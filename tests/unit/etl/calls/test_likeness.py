"""Recordings of one thing by several layers are alike; of two things, never."""

from etl.calls.likeness import answers_agree, exchange_digest, ids_agree, message_key, message_signature
from tests.unit.etl.calls.made import said, seen


def test_ids_make_no_difference_and_arguments_do() -> None:
    """Layers name tool calls each in its own way; what is asked for is one thing."""
    one, other = said("assistant", None, ("a", "add", {"x": 1})), said("assistant", None, ("b", "add", {"x": 1}))
    another = said("assistant", None, ("a", "add", {"x": 2}))

    assert message_signature(one) == message_signature(other) != message_signature(another)
    assert message_key(one) == message_key(other) != message_key(another)
    assert message_key(said("user", "")) == message_key(said("user", None))


def test_an_object_written_anew_is_the_same_answer() -> None:
    """A framework parses what the model wrote and writes it with other blanks."""
    one, other = seen(output=[said("assistant", '{"a": 1}')]), seen(output=[said("assistant", '{"a":1}')])

    assert answers_agree(one, other, strict=True)
    assert not answers_agree(one, seen(output=[said("assistant", "a: 1")]), strict=True)


def test_what_one_layer_did_not_record_speaks_against_nothing_unless_strictly() -> None:
    """An answer that is not there, a text that is empty beside tool calls."""
    whole, none, empty = seen(output=[said("assistant", "Yes.")]), seen(), seen(output=[said("assistant", "")])

    assert [answers_agree(whole, one, strict=False) for one in (none, empty)] == [True, True]
    assert [answers_agree(whole, one, strict=True) for one in (none, empty)] == [False, False]
    assert not answers_agree(whole, seen(output=[said("assistant", "No.")]), strict=False)


def test_an_exchange_is_known_by_question_and_answer() -> None:
    """Words beside tool calls are dropped by some; a failure without an answer is not one that is not there."""
    asked = [said("user", "2+2?")]
    call = ("a", "add", {"x": 2})
    wordy = seen(input=asked, output=[said("assistant", "I add.", call)])

    assert exchange_digest(wordy) == exchange_digest(seen(input=asked, output=[said("assistant", None, call)]))
    assert exchange_digest(seen(input=asked)) != exchange_digest(seen(input=asked, error={"message": "Slow."}))
    assert exchange_digest(wordy) != exchange_digest(seen(input=[said("user", "2+3?")], output=wordy.output))


def test_an_items_id_is_none_of_a_tool_call() -> None:
    """The Responses API has ids of items beside those of calls; recordings have the one or the other."""
    asked = [seen(output=[said("assistant", None, (one, "add", {}))]) for one in ("call_1", "call_2", "fc_1", None)]

    assert [ids_agree(asked[0], other) for other in asked] == [True, False, True, True]
