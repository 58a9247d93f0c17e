"""What libraries are known to leave out is missing, unless something shows that it is not."""

import pytest

from etl.calls.losses import judge_losses
from etl.dialects.spans import LlmCall
from etl.schema import RejectReason
from tests.unit.etl.calls.made import heard, replied, said, seen

AG2 = "opentelemetry.instrumentation.ag2"
AZURE = "azure.core.tracing.ext.opentelemetry_span"
BOTOCORE = "opentelemetry.instrumentation.botocore.bedrock-runtime"
INSTRUCTED = [said("system", "Be brief."), said("user", "Oslo?")]
ASKED = ("call_1", "look", {"q": "Oslo"})


def missing(*calls: LlmCall) -> list[set[RejectReason]]:
    """Return what is noted on each call."""
    judge_losses(calls)
    return [call.incomplete for call in calls]


@pytest.mark.parametrize(("scope", "api"), [(AG2, None), (AG2, "chat"), (AZURE, "responses")])
def test_a_request_without_instructions_may_have_had_some(scope: str, api: str | None) -> None:
    """AG2's agents send their prompt, and Azure AI Projects' responses `instructions`, that no span holds."""
    lost, whole = seen(0, scope, api=api, input=INSTRUCTED[1:]), seen(1, scope, api=api, input=INSTRUCTED)

    assert missing(lost, whole) == [{RejectReason.INSTRUCTIONS_MISSING}, set()]


def test_others_have_their_instructions_among_the_messages() -> None:
    """Azure's inference client has the scope of Azure AI Projects."""
    assert missing(seen(0, AZURE, api="chat", input=INSTRUCTED[1:]), seen(1, input=INSTRUCTED[1:])) == [set(), set()]


def test_what_another_library_recorded_as_well_is_whole() -> None:
    """The client below has the whole request."""
    call = seen(0, AG2, input=INSTRUCTED[1:], merged=[seen(1).span])

    assert missing(call) == [set()]


def test_calls_of_tools_may_have_had_words_beside_them() -> None:
    """Botocore's choice has either; a later request shows which it was."""
    silent = seen(0, BOTOCORE, input=INSTRUCTED, output=[replied(None, ASKED)])
    spoken = seen(1, BOTOCORE, input=INSTRUCTED, output=[replied("Cold.")])

    assert missing(silent, spoken) == [{RejectReason.TEXT_MISSING}, set()]


def test_a_later_request_shows_that_there_were_none() -> None:
    """Its history has the calls, and no words."""
    silent = seen(0, BOTOCORE, input=INSTRUCTED, output=[replied(None, ASKED)])
    history = [*INSTRUCTED, said("assistant", None, ASKED), heard("4 °C", "call_1")]

    assert missing(silent, seen(1, BOTOCORE, input=history, output=[replied("Cold.")])) == [set(), set()]


@pytest.mark.parametrize(("given", "noted"), [({}, {RejectReason.CALL_MISSING}), ({"q": "Oslo"}, set())])
def test_arguments_that_came_in_pieces_may_be_lost(given: dict[str, str], noted: set[RejectReason]) -> None:
    """Traceloop's instrumentation of Bedrock has an empty object for them."""
    call = seen(
        0, "opentelemetry.instrumentation.bedrock", input=INSTRUCTED, output=[replied(None, ("c", "look", given))]
    )

    assert missing(call) == [noted]


@pytest.mark.parametrize(("tokens", "noted"), [(27, {RejectReason.TEXT_MISSING}), (4, set())])
def test_the_last_piece_of_a_stream_has_fewer_bytes_than_tokens_were_written(
    tokens: int, noted: set[RejectReason]
) -> None:
    """Traceloop's instrumentation of Gemini keeps that piece, and says nowhere that there were others."""
    usage = {"input_tokens": 5, "output_tokens": tokens, "cached_input_tokens": None, "reasoning_tokens": None}
    scope = "opentelemetry.instrumentation.google_generativeai"

    assert missing(seen(0, scope, input=INSTRUCTED, output=[replied("o STRM.")], usage=usage)) == [noted]
