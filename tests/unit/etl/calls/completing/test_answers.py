"""What a call's own span leaves out of its answer, and what proves it."""

from typing import Any

import pytest

from etl.calls.completing.answers import (
    FORGETS_REFUSALS,
    complete_answers,
    complete_empty_answers,
    complete_from_facts,
    complete_models,
)
from etl.dialects.spans import AnswerFact, LlmCall
from tests.unit.etl.calls.made import counts, ran, replied, said, seen

QUESTION = [said("user", "Well?")]
LOOK = ("c1", "look", {"at": "sky"})


def test_a_dated_model_names_the_one_asked_for_and_nothing_else_does() -> None:
    """The alias is a guess, and marked as one; a model that was recorded is left."""
    dated, plain = seen(0, model_returned="gpt-4o-2024-08-06"), seen(1, model_returned="gpt-4o")
    asked = seen(2, model_returned="gpt-4o-2024-08-06", model_requested="mine")

    complete_models([dated, plain, asked])

    assert [call.model_requested for call in (dated, plain, asked)] == ["gpt-4o", None, "mine"]
    assert [call.pieced for call in (dated, plain, asked)] == [{"model_requested"}, set(), set()]


def test_spans_around_a_call_fill_what_it_leaves_out() -> None:
    """Known by its id; what the call says itself stands."""
    call = seen(0, response_id="r1", model_requested="m", model_returned="m", usage=counts(3), output=[replied(None)])
    fact = AnswerFact("r1", "", "Yes.", "stop", "m-1", {**counts(9), "input_tokens": 7}, streamed=True)

    complete_from_facts([call], [(seen(9).span, fact)])

    assert (call.model_returned, call.streamed) == ("m-1", True)
    assert call.output is not None
    assert (call.output[0]["text"], call.output[0]["finish_reason"]) == ("Yes.", "stop")
    assert call.usage == {**counts(3), "input_tokens": 7}


def test_an_id_is_given_only_to_the_one_answer_it_can_be_of() -> None:
    """Two answers of the same words are not told apart by them; those that ask for tools have the tools' ids."""
    alone, one, other = (seen(i, output=[replied(t)]) for i, t in enumerate(("Yes.", "No.", "No.")))
    tools = [seen(i, output=[replied(None, LOOK)]) for i in (3, 4)]
    facts = [AnswerFact("resp_1", "Yes."), AnswerFact("r2", "No."), AnswerFact("r3", "c1")]

    complete_from_facts([alone, one, other, *tools], [(alone.span, fact) for fact in facts])

    assert [call.response_id for call in (alone, one, other, *tools)] == ["resp_1", None, None, "r3", "r3"]
    assert [alone.api, one.api] == ["responses", None]


def test_of_two_responses_with_the_same_words_neither_id_is_taken() -> None:
    """Another call's answer may have been the same."""
    call = seen(0, output=[replied("No.")])

    complete_from_facts([call], [(call.span, AnswerFact(name, "No.")) for name in ("r1", "r2")])

    assert call.response_id is None


def test_facts_of_another_trace_are_another_answers() -> None:
    """Texts repeat from trace to trace."""
    call, other = seen(0, output=[replied("No.")]), seen(1)
    other.span.trace_id = "elsewhere"

    complete_from_facts([call], [(other.span, AnswerFact("r1", "No.", finish_reason="stop"))])

    assert (call.response_id, call.output) == (None, [replied("No.")])


@pytest.mark.parametrize(("written", "pieced"), [(0, set()), (1, {"output"})])
def test_an_answer_that_ended_at_once_is_the_empty_text(written: int, pieced: set[str]) -> None:
    """With one token written it may have been a text of one: then nothing is trained on it."""
    call = seen(0, input=QUESTION, output=[replied(None, reason="stop")], usage=counts(written))

    complete_empty_answers([call])

    assert call.output is not None
    assert (call.output[0]["text"], call.pieced) == ("", pieced)


@pytest.mark.parametrize(
    "changed",
    [
        {"usage": counts(2)},
        {"usage": counts(None)},
        {"usage": None},
        {"input": []},
        {"input": [said("user", None)]},
        {"pieced": {"input"}},
        {"error": {"http_status": 500}},
        {"scope": next(iter(FORGETS_REFUSALS))},
        {"output": [replied(None, reason="length")]},
        {"output": [{**replied(None, reason="stop"), "refusal": "No."}]},
        {"output": [replied(None, LOOK, reason="stop")]},
        {"output": [replied(None), replied(None)]},
    ],
)
def test_without_proof_a_missing_text_stays_missing(changed: dict[str, Any]) -> None:
    """More was written, or content was not recorded, or it ended otherwise, or the writer forgets refusals."""
    fields = {"input": QUESTION, "output": [replied(None, reason="stop")], "usage": counts(0), **changed}
    call = seen(0, **fields)

    complete_empty_answers([call])

    assert [message["text"] for message in call.output or ()] == [None] * len(fields["output"])


def outcome(call: LlmCall) -> list[tuple[str | None, str | None, list[str | None]]]:
    return [
        (message["text"], message["finish_reason"], [asked["name"] for asked in message["tool_calls"]])
        for message in call.output or ()
    ]


def test_executions_prove_what_an_unrecorded_answer_asked_for() -> None:
    """In the order in which they began, under the names that the model knows; it is not the whole answer."""
    call = seen(0, finish_reasons=["tool_calls", "stop"])
    later, first = ran(2, "look", "c2"), ran(1, "internal", "c1", asked_as="find", arguments={"what": "sea"})

    complete_answers([call], [(later, call), (first, call), (ran(3), None)])

    assert outcome(call) == [(None, "tool_calls", ["find", "look"]), (None, "stop", [])]
    assert call.pieced == {"output"}


def test_an_answer_that_ended_in_calls_which_it_lacks_gets_those_that_ran() -> None:
    """Its text is kept; an answer with calls of its own is whole, whatever ran."""
    lacking = seen(0, output=[replied("Let me look.", reason="tool_use")])
    whole = seen(1, output=[replied(None, LOOK, reason="tool_use")])
    idle = seen(2, output=[replied("x", reason="tool_use")])

    complete_answers([lacking, whole, idle], [(ran(3), lacking), (ran(4, "find"), whole)])

    assert [outcome(call)[0][2] for call in (lacking, whole, idle)] == [["look"], ["look"], []]
    assert [outcome(lacking)[0][0], lacking.pieced, whole.pieced, idle.pieced] == [
        "Let me look.",
        {"output"},
        set(),
        set(),
    ]


def test_a_failed_call_answered_nothing() -> None:
    """Whatever ran below it, and whatever reason it gives."""
    call = seen(0, finish_reasons=["stop"], error={"http_status": 500})

    complete_answers([call], [(ran(1), call)])

    assert call.output is None


def test_a_call_that_said_nothing_answered_the_empty_text() -> None:
    """One reason, no tokens; without a reason there is no answer to speak of."""
    silent = seen(0, input=QUESTION, finish_reasons=["stop"], usage=counts(0))
    unknown = seen(1, input=QUESTION, usage=counts(0))

    complete_answers([silent, unknown], [])

    assert (outcome(silent), silent.pieced) == ([("", "stop", [])], set())
    assert unknown.output is None
