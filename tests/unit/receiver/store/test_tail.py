"""Rows that wait to land: counted, given out oldest first, found by trace."""

from receiver.decode.arrow import decode
from receiver.decode.otlp import Signal
from receiver.store.tail import Decoded, HotTail, of_traces
from tests.export_requests import span, traces


def request(seq: int, *letters: str) -> Decoded:
    """Return a request with one span in each of the traces named by a letter."""
    message = traces(*(span(seq * 10 + number, trace_id=letter.encode() * 16) for number, letter in enumerate(letters)))
    batch = decode(Signal.TRACES, message, project="p", received_ns=seq, seq=seq)
    return Decoded(seq, seq, "spans", batch)


def test_the_oldest_requests_are_given_out_within_a_bound_and_one_at_least() -> None:
    """A bound smaller than a request must not stop landing."""
    tail = HotTail()
    tail.add([request(1, "a"), request(2, "a", "b"), request(3, "c")])
    sizes = [item.num_bytes for item in tail.requests]

    assert [item.seq for item in tail.first(None)] == [1, 2, 3]
    assert [item.seq for item in tail.first(sizes[0] + sizes[1])] == [1, 2]
    assert [item.seq for item in tail.first(1)] == [1]
    assert (tail.num_rows, tail.num_bytes) == (4, sum(sizes))


def test_what_landed_is_no_longer_counted() -> None:
    """Rows, bytes and requests go together."""
    tail = HotTail()
    tail.add([request(1, "a"), request(2, "a", "b")])

    tail.drop(1)
    tail.drop(1)

    assert (tail.requests, tail.num_rows, tail.num_bytes) == ([], 0, 0)
    assert tail.batches() == {"spans": [], "log_records": []}


def test_the_batches_of_a_trace_are_found_wherever_in_them_it_is() -> None:
    """At the first row, at the last, in several batches, in none."""
    batches = [request(1, "a", "b").batch, request(2, "c").batch, request(3, "d", "e", "a").batch]

    def found(*letters: str) -> list[int]:
        wanted = frozenset((letter.encode() * 16).hex() for letter in letters)
        return [batches.index(batch) for batch in of_traces(batches, wanted)]

    assert found("a") == [0, 2]
    assert found("b", "c") == [0, 1]
    assert found("e") == [2]
    assert found("z") == found() == of_traces([], frozenset()) == []
