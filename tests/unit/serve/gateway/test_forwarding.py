"""A request on its way to an engine, and the answer on its way back."""

import asyncio

import pytest

from otel_exporter.schema import CHOICE_TOKEN_IDS
from tests.gateway import STREAM, USER, Bench, run


def test_a_stream_is_forwarded_event_by_event() -> None:
    """The first event reaches the client while the engine is still holding the second back."""

    async def scenario(one: Bench) -> None:
        one.engine.hold.clear()
        body = {"model": "base", "messages": USER, "stream": True}
        async with one.client.post(f"{one.url}/v1/chat/completions", json=body) as response:
            first = await response.content.readuntil(b"\n\n")
            assert b'"content":"a"' in first
            assert b"token_ids" not in first
            one.engine.hold.set()
            rest = await response.read()

        events = [line for line in rest.split(b"\n\n") if line]
        assert len(events) == 2  # the empty delta is left out
        assert events[-1] == b"data: [DONE]"
        (span,) = await one.spans()
        assert span.attributes is not None
        assert span.attributes[CHOICE_TOKEN_IDS.format(index=0)] == (7, 8, 9)

    run(scenario)


def test_errors_of_the_engine_are_passed_on() -> None:
    """Status and words as they came, in OpenAI's shape; the span says what happened."""

    async def scenario(one: Bench) -> None:
        one.engine.status = 400
        said = "This model's maximum context length is 9 tokens."
        one.engine.answer = {"error": {"message": said, "type": "BadRequestError", "code": 400}}

        status, answer, _ = await one.ask()

        assert status == 400
        assert answer["error"]["message"] == said
        assert answer["error"]["code"] == "context_length_exceeded"
        assert answer["error"]["type"] == "invalid_request_error"
        (span,) = await one.spans()
        assert span.attributes is not None
        assert span.attributes["error.type"] == "400"

    run(scenario)


def test_a_client_that_leaves_stops_the_engine() -> None:
    """The engine's request is cancelled, not run to its end for nobody, whether streaming or not."""

    async def scenario(one: Bench) -> None:
        one.engine.hold.clear()
        for stream in (True, False):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(one.ask(stream=stream), 0.3)
        while one.engine.num_cancelled < 2:
            await asyncio.sleep(0.01)
        for span in await one.spans(2):
            assert span.attributes is not None
            assert span.attributes["error.type"] == "cancelled"
        assert one.gateway.admission.num_in_flight == 0

    run(scenario)


def test_a_stream_the_engine_breaks_off_ends_with_an_error() -> None:
    """The client is told; it does not mistake half an answer for a whole one."""

    async def scenario(one: Bench) -> None:
        one.engine.events, one.engine.breaks_off = STREAM[:1], True

        _, content, _ = await one.ask(stream=True)

        assert b'"error"' in content
        assert b"[DONE]" not in content
        (span,) = await one.spans()
        assert span.attributes is not None
        assert span.attributes["error.type"] == "engine_failed"

    run(scenario)


@pytest.mark.parametrize(("num_lost", "status"), [(1, 200), (2, 200), (3, 503)])
def test_a_connection_lost_before_the_answer_is_tried_again(num_lost: int, status: int) -> None:
    """An engine may close an idle connection at the moment a call is sent on it; the client need not know."""

    async def scenario(one: Bench) -> None:
        one.engine.num_to_lose = num_lost

        got, _, response = await one.ask()

        assert got == status
        assert ("Retry-After" in response.headers) == (status == 503)
        assert len(one.engine.asked) == min(num_lost + 1, 3)

    run(scenario)


def test_a_call_let_in_before_its_engine_was_let_go_can_be_retried() -> None:
    """The engine ended between two attempts and its client is closed: 503, and the span does not blame the caller."""

    async def scenario(one: Bench) -> None:
        await one.engine.session.close()

        status, _, response = await one.ask()

        assert (status, "Retry-After" in response.headers) == (503, True)
        (span,) = await one.spans()
        assert span.attributes is not None
        assert span.attributes["error.type"] == "503"

    run(scenario)
