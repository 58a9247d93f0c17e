"""What a span around a call tells of it, and what it does not."""

from typing import Any

import pytest

from etl.dialects.spans import LlmCall
from etl.dialects.structure.around import complete_from_around
from tests.unit.etl.calls.made import said, seen
from tests.unit.etl.dialects.structure.test_survey import found

USER = {"role": "user", "content": "Well?"}
STEP = {"acme__type": "model_generation"}
RESPONSE = {"id": "chatcmpl-1", "model": "m-1", "choices": [{"message": {"role": "assistant", "content": "Yes."}}]}


def completed(call: LlmCall, **attributes: Any) -> LlmCall:
    span = seen().span
    span.attributes = {name.replace("__", "."): value for name, value in attributes.items()}
    complete_from_around(call, span, found(**attributes))
    return call


def test_a_step_of_the_models_own_tells_of_the_call() -> None:
    """Its request and its response are the call's; instructions that the call had are kept before them."""
    call = completed(seen(input=[said("system", "Be kind.")]), **STEP, acme__request=[USER], acme__response=RESPONSE)

    assert [message["text"] for message in call.input or ()] == ["Be kind.", "Well?"]
    assert [message["text"] for message in call.output or ()] == ["Yes."]
    assert (call.response_id, call.model_returned, call.pieced) == ("chatcmpl-1", "m-1", set())


def test_what_an_agent_was_given_need_not_be_what_the_model_was_sent() -> None:
    """It is a fact, and marked so that nothing is trained on it."""
    call = completed(seen(), acme__request=[USER])

    assert [message["text"] for message in call.input or ()] == ["Well?"]
    assert "input" in call.pieced


@pytest.mark.parametrize(("own", "response_id"), [("Yes.", "chatcmpl-1"), ("No.", None)])
def test_a_response_that_speaks_against_the_call_is_anothers(own: str, response_id: str | None) -> None:
    """The words of the call's own span win."""
    answer = {**said("assistant", own), "refusal": None, "finish_reason": None}
    call = completed(seen(output=[answer], input=[said("user", "Well?")]), **STEP, acme__response=RESPONSE)

    assert call.response_id == response_id
    assert call.output is not None
    assert call.output[0]["text"] == own
