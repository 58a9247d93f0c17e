"""What only the gateway knows of a call: tokens, log-probabilities, the policy."""

import json
from typing import Any

from etl.dialects.conventions import gateway
from etl.dialects.spans import LlmCall, Span
from otel_exporter import schema as names
from tests.spans import gateway as made


def read(**more: Any) -> LlmCall | None:
    row = made("g")
    attributes = json.loads(row["attributes"]) | more
    return gateway.read(Span(0, "p", "t", "s", None, "chat", 0, 1, None, None, names.GATEWAY_SCOPE, None, attributes))


def lists(call: LlmCall) -> list[Any]:
    arrays = (call.prompt_token_ids, call.response_token_ids, call.behavior_logprobs)
    return [None if array is None else array.tolist() for array in arrays]


def test_an_answer_has_its_tokens_and_their_log_probabilities() -> None:
    """Of a single answer they are not repeated as those of several."""
    call = read(**{names.REQUEST_MIN_P: 0.1})

    assert call is not None
    assert lists(call) == [[1, 2, 3], [4, 5], [-0.5, -0.25]]
    assert [call.policy_version, call.logprobs_mode, call.sampled] == ["policy-1", "processed", []]
    assert call.params["min_p"] == 0.1


def test_of_several_answers_each_keeps_its_own_tokens() -> None:
    """One whose tokens are not recorded has none, and does not get its neighbour's."""
    answer = {"role": "assistant", "parts": [{"type": "text", "content": "x"}], "finish_reason": "stop"}
    third = names.CHOICE_TOKEN_IDS.format(index=2)

    call = read(**{"gen_ai.output.messages": json.dumps([answer] * 3), third: [9]})

    assert call is not None
    ids = [None if one is None else one.tolist() for one, _ in call.sampled]
    assert ids == [[4, 5], None, [9]]
    assert call.sampled[2][1] is None


def test_values_that_are_no_tokens_are_none() -> None:
    """A number for a list, words among numbers, an empty list: the call is there, its evidence is not."""
    ids, logprobs = names.CHOICE_TOKEN_IDS.format(index=0), names.CHOICE_LOGPROBS.format(index=0)

    call = read(**{names.PROMPT_TOKEN_IDS: 7, ids: [4, "5"], logprobs: []})

    assert call is not None
    assert lists(call) == [None, None, None]


def test_a_span_of_the_gateways_that_asks_no_model_is_no_call() -> None:
    """It may come to trace more than calls."""
    assert read(**{"gen_ai.operation.name": "invoke_agent"}) is None
