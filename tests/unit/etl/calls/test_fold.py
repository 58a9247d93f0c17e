"""Of several renditions of one call every field comes from the most exact of those that have it."""

import numpy as np

from etl.calls.fold import fold_calls
from etl.calls.tree import Forest
from etl.dialects.conventions import gateway
from etl.schema import RejectReason
from tests.unit.etl.calls.made import said, seen

FOREST = Forest([-1] * 3, [0, 1, 2], [0, 1, 2], [1, 2, 3], [False] * 3, [False] * 3)
QUESTION = [said("user", "2+2?")]


def usage(**counts: int | None) -> dict[str, int | None]:
    return {"input_tokens": None, "output_tokens": None, "cached_input_tokens": None, **counts}


def test_the_gateways_tokens_stand_on_the_clients_span() -> None:
    """Where the agent's own spans are, the call stands; ids, counts and settings are the gateway's."""
    ids = np.array([4, 5])
    client = seen(
        0, input=QUESTION, output=[said("assistant", "4")], agent="a", params={"temperature": 0.5},
        usage=usage(input_tokens=9, cached_input_tokens=3),
    )  # fmt: skip
    gate = seen(
        1, dialect=gateway.DIALECT, output=[said("assistant", "4")], response_token_ids=ids, agent="proxy",
        params={"temperature": 0.7, "seed": 1}, usage=usage(input_tokens=10, output_tokens=2),
    )  # fmt: skip

    call = fold_calls([gate, client], FOREST)

    assert (call.span, call.merged, call.agent) == (client.span, [gate.span], "a")
    assert call.response_token_ids is ids
    assert call.params == {"temperature": 0.7, "seed": 1}
    assert call.usage == usage(input_tokens=10, output_tokens=2, cached_input_tokens=3)


def test_the_fullest_messages_are_taken_unless_they_are_known_to_have_holes() -> None:
    """A whole rendition with as many messages is better; one with fewer is not."""
    answer = [said("assistant", "4")]
    holes = seen(0, input=[said("user", "2+2?", ("a", "b", 1))], output=answer, incomplete={RejectReason.TEXT_MISSING})
    whole, less = seen(1, input=QUESTION, output=answer), seen(2, input=[], output=answer)

    assert fold_calls([holes, whole], FOREST).input == QUESTION
    assert fold_calls([holes, whole], FOREST).incomplete == set()
    assert fold_calls([holes, less], FOREST).input == holes.input
    assert fold_calls([holes, less], FOREST).incomplete == {RejectReason.TEXT_MISSING}


def test_an_answer_leaves_no_error_of_another_layer() -> None:
    """A client that failed below a framework that answered in the end was retried."""
    failed = seen(1, input=QUESTION, error={"message": "Slow."})

    assert fold_calls([seen(0, output=[said("assistant", "4")]), failed], FOREST).error is None
    assert fold_calls([seen(0, input=QUESTION), failed], FOREST).error == {"message": "Slow."}


def test_what_was_put_together_is_so_only_where_nobody_recorded_it() -> None:
    """And a call is cut only where every rendition is."""
    pieced, told = seen(0, input=QUESTION, pieced={"input"}, truncated=True), seen(1, input=QUESTION)

    assert fold_calls([pieced, told], FOREST).pieced == set()
    assert fold_calls([pieced, seen(1, pieced=set())], FOREST).pieced == {"input"}
    assert not fold_calls([pieced, told], FOREST).truncated


def test_where_the_gateway_put_another_prompt_its_messages_are_what_the_model_saw() -> None:
    """However much more the agent's own layer says of the message it sent."""
    own = [said("system", "Be kind.", ("a", "b", 1)), *QUESTION]
    better = [said("system", "Be kinder."), *QUESTION]
    for version, expected in (("1", better), ("0", own)):
        client = seen(0, input=own)
        ours = seen(1, input=better, dialect=gateway.DIALECT, prompt_version=version)
        assert fold_calls([client, ours], FOREST).input == expected
