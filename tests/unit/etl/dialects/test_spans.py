"""What dialects make of a span, where it says more than its fields."""

from etl.dialects.spans import Embedding
from tests.unit.etl.calls.made import counts, replied, said, seen


def test_the_action_is_the_answer_that_was_gone_on_from() -> None:
    """A number past the last answer, which another rendition of the call may have, takes the last."""
    answers = [replied("one"), replied("two")]

    assert seen(output=answers, choice=1).answer == answers[1]
    assert seen(output=answers, choice=7).answer == answers[1]
    assert seen(output=[]).answer is None
    assert seen().answer is None


def test_an_embedding_keeps_its_texts_and_is_no_exchange() -> None:
    """A message without text counts for none, an empty text is one; tokens of an answer there are none."""
    call = seen(input=[said("user", "a"), said("user", None), said("user", "")], output=[replied("x")], usage=counts(5))
    call.finish_reasons = ["stop"]

    found = Embedding.of(call, [3, 3])

    assert [found.texts, found.dimensions] == [["a", ""], [3, 3]]
    assert [found.call.api, found.call.input, found.call.output, found.call.finish_reasons] == [
        "embeddings",
        None,
        None,
        [],
    ]
    assert found.call.usage == {"input_tokens": None, "output_tokens": 5}


def test_an_embedding_that_tells_nothing_is_one_all_the_same() -> None:
    """Neither content nor usage was captured."""
    found = Embedding.of(seen(), [])

    assert [found.texts, found.call.usage, found.call.api] == [[], None, "embeddings"]
