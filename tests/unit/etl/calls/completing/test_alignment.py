"""Ids of a provider's items in place of the calls' own."""

import pytest

from etl.calls.completing.alignment import align_item_ids
from etl.exports.export import decoded
from tests.conversation import ANSWER, ARGUMENTS, QUESTION, dump, run
from tests.spans import span
from tests.unit.etl.calls.made import said, seen


def test_agnos_results_bear_the_ids_of_the_calls() -> None:
    """Agno 3.1 with the Responses API, openinference-instrumentation-agno 1.0: results name the item of the call."""
    request = {"id": "fc_1", "call_id": "call_1", "type": "function"}
    request |= {"function": {"name": "calculator", "arguments": dump(ARGUMENTS)}}
    history = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "tool_calls": [request]},
        {"role": "tool", "content": "84", "tool_call_id": "fc_1"},
    ]
    attributes = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o-mini",
        "llm.provider": "OpenAI",
        "input.value": dump({"messages": history}),
        "output.value": dump([{"role": "assistant", "content": ANSWER}]),
    }
    spans = [span("OpenAIResponses.invoke", attributes=attributes, scope="openinference.instrumentation.agno")]

    (row,) = run((spans, [])).tables["llm_calls"].iter_rows(named=True)
    call = decoded("llm_calls", row)

    assert call["input"][1]["tool_calls"][0]["id"] == "call_1"
    assert call["input"][2]["tool_call_id"] == "call_1"
    assert call["api"] == "responses"


@pytest.mark.parametrize("results", [["call_A", "call_B"], ["call_B", "call_A"]])
def test_results_that_name_their_call_leave_the_others_to_the_items(results: list[str]) -> None:
    """Whatever the order in which the results stand."""
    asked = said("assistant", None, ("call_A", "add", {"a": 1}), ("fc_1", "add", {"a": 2}))
    call = seen(input=[asked, *({**said("tool", "3"), "tool_call_id": one} for one in results)])

    align_item_ids([call])

    assert call.input is not None
    assert [request["id"] for request in call.input[0]["tool_calls"]] == ["call_A", "call_B"]
    assert [message.get("tool_call_id") for message in call.input[1:]] == results
