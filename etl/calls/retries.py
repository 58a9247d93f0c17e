"""Answers that another answer took the place of, so that nothing that came after tells anything of them.

1. An attempt inside a client's own span: a call with the same question below it that is not the one that answered, or
   one the gateway took within its time and ended before it took the one that did. The agent never saw it.
2. An answer the agent threw away: it asked the very same again after this one had ended, and went on from another
   answer to it, one that a later request holds or whose tools ran, while nothing went on from this one.

Answers to one question that overlap in time are samples, and of equal questions of which none was gone on from nobody
can say which counted: those all stay.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from etl.calls.tree import Forest
from etl.dialects.conventions import gateway
from etl.dialects.spans import LlmCall
from otel_exporter.schema import GATEWAY_SCOPE

NEIGHBORS = 8
"""How many calls with one question may be open at once and still be compared."""


def attempts(calls: Iterable[LlmCall], forest: Forest) -> set[int]:
    """Return the rows of attempts inside other calls' spans; `calls` are merged, each one once, and numbered."""
    asked: dict[Hashable, list[LlmCall]] = defaultdict(list)
    for call in sorted(calls, key=lambda call: (call.span.start_ns, -call.span.end_ns, call.span.span_id)):
        if call.input:
            asked[call.span.project, call.beginnings[-1]].append(call)
    found: set[int] = set()
    for same in asked.values():
        for position, inner in enumerate(same):
            for outer in same[max(0, position - NEIGHBORS) : position]:
                if inner.span.end_ns <= outer.span.end_ns and _is_attempt(inner, outer, forest):
                    found.add(inner.span.index)
                    break
    return found


def _is_attempt(inner: LlmCall, outer: LlmCall, forest: Forest) -> bool:
    if outer.dialect == gateway.DIALECT:
        return False
    if forest.is_ancestor(outer.span.index, inner.span.index):
        return True
    if inner.dialect != gateway.DIALECT:
        return False
    answered = [span.start_ns for span in outer.merged if span.scope == GATEWAY_SCOPE]
    return bool(answered) and inner.span.end_ns <= max(answered)


def thrown_away(calls: Sequence[LlmCall], used: set[int]) -> set[int]:
    """Return the rows of answers an agent went on without.

    `calls` are one episode's, numbered and in the order they began; `used` are the rows of those whose tools ran.
    """
    asked: dict[Hashable, list[LlmCall]] = defaultdict(list)
    for call in calls:
        if call.input and call.output:
            asked[call.agent, call.beginnings[-1]].append(call)
    repeated = [same for same in asked.values() if len(same) > 1]
    if not repeated:
        return set()
    held = {number for call in calls for number in call.beginnings}
    found: set[int] = set()
    for same in repeated:
        last_start = max((call.span.start_ns for call in same if _went_on(call, held, used)), default=None)
        if last_start is not None:
            found |= {
                call.span.index for call in same if call.span.end_ns <= last_start and not _went_on(call, held, used)
            }
    return found


def _went_on(call: LlmCall, held: set[int], used: set[int]) -> bool:
    return call.span.index in used or not held.isdisjoint(call.endings)
