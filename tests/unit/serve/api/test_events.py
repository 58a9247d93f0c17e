import asyncio
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from serve.api.answers import Recording, Wants
from serve.api.apis import APIS
from serve.api.events import reduce_event, split_events

STREAM = [b'data: {"id": "a"}\n\n', b"event: x\ndata: {}\n\n", b": ping\n\n", b"data: [DONE]\n\n"]
RETURNED = [event.replace(b"\n", b"\r\n") for event in STREAM]


@given(st.lists(st.integers(1, 40), max_size=40), st.sampled_from([STREAM, RETURNED]))
def test_events_come_out_whole_however_the_bytes_are_cut(cuts: list[int], stream: list[bytes]) -> None:
    """Network packets do not respect events, and servers end their lines as they like."""
    whole = b"".join(stream)

    async def pieces() -> AsyncIterator[bytes]:
        start = 0
        for size in [*cuts, len(whole)]:
            yield whole[start : start + size]
            start += size

    async def collect() -> list[bytes]:
        return [each async for events in split_events(pieces()) for each in events]

    assert asyncio.run(collect()) == stream


def test_what_is_no_answer_is_left_as_it_is() -> None:
    """Comments that keep a connection alive and the end of a stream."""
    for event in STREAM[2:]:
        assert reduce_event(event, APIS[0], Recording(), Wants(logprobs=False, token_ids=False)) == event
