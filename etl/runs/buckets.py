"""Divides the traces of a run into buckets small enough for memory, none of which needs to know of another.

How much a bucket takes depends on its spans and on their text: it is full when it has so many of them, or so much text
as `SPAN_TEXT` for each would be.

Traces belong together when they may share an episode (a conversation, session or episode id) or a call (a gateway's
trace and the client's, by response id). What belongs together is in one bucket; the rest is divided in the order it
was received, so that a bucket is read from one stretch of the store. The gateway's traces whose call is nowhere else by
id may still be some client's by content: no bucket ends where one of them overlaps its neighbour in time, unless the
bucket would grow beyond `HARD_LIMIT` times its spans, or `HARD_TEXT_LIMIT` times its text.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from etl.calls.merge import CLOCK_SKEW_NS
from etl.episodes.grouping import Trace
from etl.runs.source import TraceFacts

HARD_LIMIT = 4
HARD_TEXT_LIMIT = 1.5

SPAN_TEXT = 8 * 2**10
"""Bytes of text a span may have before it counts as more than one; agent-like ones have 1 to 4 KiB on average."""


@dataclass(slots=True)
class Bucket:
    """Traces that are read and transformed together."""

    traces: set[Trace] = field(default_factory=set)
    first_seq: int = 0
    last_seq: int = 0
    num_spans: int = 0
    num_bytes: int = 0


@dataclass(slots=True)
class _Group:
    """Traces that belong together."""

    traces: list[Trace]
    num_spans: int
    num_bytes: int
    first_seq: int
    last_seq: int
    start_ns: int
    end_ns: int
    is_loose: bool
    """A gateway's call that no other trace is known to share."""


def divide(
    facts: Sequence[TraceFacts], together: Iterable[Iterable[Trace]], *, max_spans: int, by_time: bool = False
) -> list[Bucket]:
    """Return the buckets, in order of receipt; `together` are more sets of traces that must not be divided.

    `by_time`: in the order traces began, where receipt has no one order, as of several receivers.
    """
    groups = _group(facts, together)
    groups.sort(key=lambda group: (0 if by_time else group.first_seq, group.start_ns, group.traces[0]))
    buckets: list[Bucket] = []
    end_ns, has_loose = 0, False
    for group in groups:
        bucket = buckets[-1] if buckets else None
        near = group.start_ns <= end_ns + CLOCK_SKEW_NS and (has_loose or group.is_loose)
        limit = max_spans * (HARD_LIMIT if near else 1)
        text_limit = max_spans * SPAN_TEXT * (HARD_TEXT_LIMIT if near else 1)
        if (
            bucket is None
            or bucket.num_spans + group.num_spans > limit
            or bucket.num_bytes + group.num_bytes > text_limit
        ):
            bucket = Bucket(first_seq=group.first_seq)
            buckets.append(bucket)
            end_ns, has_loose = 0, False
        bucket.traces.update(group.traces)
        bucket.num_spans += group.num_spans
        bucket.num_bytes += group.num_bytes
        bucket.first_seq = min(bucket.first_seq, group.first_seq)
        bucket.last_seq = max(bucket.last_seq, group.last_seq)
        end_ns, has_loose = max(end_ns, group.end_ns), has_loose or group.is_loose
    return buckets


def fits(facts: Sequence[TraceFacts], *, max_spans: int) -> bool:
    """Tell whether all of these traces are small enough for one bucket."""
    num_bytes = sum(fact.num_bytes for fact in facts)
    return sum(fact.num_spans for fact in facts) <= max_spans and num_bytes <= max_spans * SPAN_TEXT


def _group(facts: Sequence[TraceFacts], together: Iterable[Iterable[Trace]]) -> list[_Group]:
    parent: dict[Trace, Trace] = {fact.trace: fact.trace for fact in facts}

    def find(trace: Trace) -> Trace:
        while parent[trace] != trace:
            parent[trace] = parent[parent[trace]]
            trace = parent[trace]
        return trace

    by_link: dict[tuple[str, str], Trace] = {}
    shared: set[Trace] = set()
    for fact in facts:
        for link in fact.links:
            other = by_link.setdefault((fact.trace[0], link), fact.trace)
            if (fact.trace[0], link) in parent:  # a link may name another trace, which need not know of it
                parent[find((fact.trace[0], link))] = find(fact.trace)
            if other != fact.trace:
                shared |= {other, fact.trace}
                parent[find(fact.trace)] = find(other)
    for traces in together:
        known = [trace for trace in traces if trace in parent]
        for trace in known[1:]:
            parent[find(trace)] = find(known[0])
    members: dict[Trace, list[TraceFacts]] = defaultdict(list)
    for fact in facts:
        members[find(fact.trace)].append(fact)
    return [
        _Group(
            sorted(fact.trace for fact in group),
            sum(fact.num_spans for fact in group),
            sum(fact.num_bytes for fact in group),
            min(fact.first_seq for fact in group),
            max(fact.last_seq for fact in group),
            min(fact.start_ns for fact in group),
            max(fact.end_ns for fact in group),
            any(fact.is_gateway and fact.trace not in shared for fact in group),
        )
        for group in members.values()
    ]
