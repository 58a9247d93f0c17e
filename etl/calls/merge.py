"""One model call, once: spans of the same call, seen by framework, client and gateway, become one, field by field.

Two spans are the same call
1. if their response ids are equal (across traces only where one is the gateway's or has no content: ids of stubs
   repeat);
2. if one lies below the other, in time too (but for the gateway's of the same question and answer), one of them has no
   response id, and their answers agree, or it is the only call below the other and one has no answer or both have the
   same counts of tokens;
3. if they come from two layers that no rule above joined, the gateway and a client (many clients do not propagate
   their trace context), or two instrumentations in one trace (a stream may lose its context), question and answer are
   equal, or both failed, and one lies within the other in time, or, of streams, begins as the other ends;
4. if one is a client's own span without content that no rule above joined, and it began during the other, of the
   same model, with the same end: an answer or an error.
Never two with different response ids, and never siblings without one: identical parallel calls are real.
"""

from bisect import bisect_right
from collections import Counter, defaultdict

from etl.calls.fold import fold_calls
from etl.calls.likeness import answers_agree, exchange_digest, ids_agree, is_bare, is_gateway
from etl.calls.runs_beside import runs_beside
from etl.calls.tree import Forest
from etl.dialects.spans import Embedding, LlmCall

CLOCK_SKEW_NS = 2_000_000_000
"""How far apart the clocks of agent and gateway may be."""

MOST_AT_ONCE = 64
"""How many calls of a trace are looked at that began before a bare span and may still have been open."""


def merge_calls(calls: list[LlmCall], forest: Forest) -> tuple[list[LlmCall], list[LlmCall]]:
    """Return the calls, each once, ordered by row; and the wrappers, model-call spans around several other calls."""
    calls = sorted(calls, key=lambda call: call.span.index)
    groups = _Groups(len(calls))
    _join_by_response_id(calls, groups)
    wrappers = _join_nested(calls, forest, groups)
    wrappers |= runs_beside(calls, groups.find)
    _join_layers(calls, groups, wrappers)
    _join_bare(calls, groups, wrappers)
    members: dict[int, list[LlmCall]] = defaultdict(list)
    for number, call in enumerate(calls):
        if number not in wrappers:
            members[groups.find(number)].append(call)
    merged = [fold_calls(group, forest) for group in members.values()]
    merged.sort(key=lambda call: call.span.index)
    return merged, [calls[number] for number in sorted(wrappers)]


def unique_embeddings(embeddings: list[Embedding], forest: Forest) -> list[Embedding]:
    """Return the calls of embeddings APIs, each once: of nested ones of one model, the innermost that has the texts."""
    kept: list[Embedding] = []
    for embedding in sorted(embeddings, key=lambda embedding: forest.enter[embedding.call.span.index]):
        row = embedding.call.span.index
        outer = kept[-1] if kept and forest.is_ancestor(kept[-1].call.span.index, row) else None
        if outer is None or outer.call.model_requested != embedding.call.model_requested:
            kept.append(embedding)
        elif embedding.texts or not outer.texts:
            kept[-1] = embedding
    return kept


class _Groups:
    """Union-find over call numbers."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, number: int) -> int:
        """Return the representative of a group."""
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Make two groups one."""
        a, b = self.find(one), self.find(other)
        self._parent[max(a, b)] = min(a, b)


def _join_by_response_id(calls: list[LlmCall], groups: _Groups) -> None:
    by_id: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, call in enumerate(calls):
        if call.response_id is not None:
            by_id[call.span.project, call.response_id].append(number)
    for numbers in by_id.values():
        for position, number in enumerate(numbers[1:], start=1):
            call = calls[number]
            for earlier in numbers[
                max(0, position - 8) : position
            ]:  # a call is seen by a handful of layers, never by hundreds
                other = calls[earlier]
                near = call.span.trace_id == other.span.trace_id or any(
                    is_gateway(one) or is_bare(one) for one in (call, other)
                )
                if near and answers_agree(call, other, strict=False) and not _follow(other, call):
                    groups.join(earlier, number)
                    break


def _follow(one: LlmCall, other: LlmCall) -> bool:
    """Tell whether these are two calls of one layer, one after the other, that said different things: a stub's id."""
    spans = sorted((one.span, other.span), key=lambda span: span.start_ns)
    is_one_layer = one.span.scope == other.span.scope and one.span.trace_id == other.span.trace_id
    return is_one_layer and spans[1].start_ns >= spans[0].end_ns and not answers_agree(one, other, strict=True)


def _join_nested(calls: list[LlmCall], forest: Forest, groups: _Groups) -> set[int]:
    order = sorted(range(len(calls)), key=lambda number: forest.enter[calls[number].span.index])
    below: dict[int, list[int]] = defaultdict(list)
    open_calls: list[int] = []
    for number in order:
        row = calls[number].span.index
        while open_calls and not forest.is_ancestor(calls[open_calls[-1]].span.index, row):
            open_calls.pop()
        if open_calls:
            below[open_calls[-1]].append(number)
        open_calls.append(number)
    wrappers: set[int] = set()
    for outer in sorted(below, key=lambda number: -forest.enter[calls[number].span.index]):
        inner = below[outer]
        same = [number for number in inner if groups.find(number) == groups.find(outer)]
        if same:
            continue
        matching = [number for number in inner if _is_same_nested(calls[outer], calls[number], only=len(inner) == 1)]
        if matching:
            groups.join(outer, matching[-1])  # the last attempt is the one that answered
        elif calls[outer].output is None and calls[outer].error is None:
            wrappers.add(outer)
    return wrappers


def _is_same_nested(outer: LlmCall, inner: LlmCall, *, only: bool) -> bool:
    if outer.response_id is not None and inner.response_id is not None:
        return outer.response_id == inner.response_id
    if is_gateway(inner) and only and exchange_digest(outer) == exchange_digest(inner):
        return True  # the caller's context came with the request: what the clocks of two machines say is no matter
    if (
        inner.span.start_ns < outer.span.start_ns - CLOCK_SKEW_NS
        or inner.span.end_ns > outer.span.end_ns + CLOCK_SKEW_NS
    ):
        return False
    if outer.output is None or inner.output is None:
        return only
    if only and _counts(outer) is not None and _counts(outer) == _counts(inner):
        return True  # whatever words the framework has for the same answer
    return answers_agree(outer, inner, strict=True) and _usage_agrees(outer, inner)


def _counts(call: LlmCall) -> tuple[int, int] | None:
    """Return the tokens in and out, where both are known and there are any."""
    counts = (call.usage["input_tokens"], call.usage["output_tokens"]) if call.usage is not None else (None, None)
    return (counts[0], counts[1]) if counts[0] and counts[1] else None


def _usage_agrees(one: LlmCall, other: LlmCall) -> bool:
    """Tell whether counts agree where both are known; some writers count in with the input what a cache held of it."""
    if one.usage is None or other.usage is None:
        return True
    pairs = {key: (one.usage[key], other.usage[key]) for key in ("input_tokens", "output_tokens")}
    apart = {key: abs(left - right) for key, (left, right) in pairs.items() if left is not None and right is not None}
    cached = {usage["cached_input_tokens"] or 0 for usage in (one.usage, other.usage)}
    return not apart.get("output_tokens") and apart.get("input_tokens", 0) in {0, *cached}


def _join_layers(calls: list[LlmCall], groups: _Groups, wrappers: set[int]) -> None:
    """Pair calls of two layers one to one, by question and answer and the nearest start."""
    ended = [
        number
        for number, call in enumerate(calls)
        if number not in wrappers and (call.output is not None or (call.error is not None and call.input is not None))
    ]
    open_numbers = _where_layers_meet(calls, ended)
    layers: dict[int, set[str]] = defaultdict(set)
    for number, call in enumerate(calls if open_numbers else ()):
        layers[groups.find(number)].add(call.span.scope)
    exchanges = {number: exchange_digest(calls[number]) for number in open_numbers}
    waiting: dict[tuple[str, str | None, bytes], list[int]] = defaultdict(list)
    for number in open_numbers:
        span, exchange = calls[number].span, exchanges[number]
        if not is_gateway(calls[number]):
            waiting[span.project, span.trace_id, exchange].append(number)
            waiting[span.project, None, exchange].append(number)
    for number in open_numbers:
        call = calls[number]
        trace_id = None if is_gateway(call) else call.span.trace_id  # the gateway's call may be of any trace
        candidates = waiting[call.span.project, trace_id, exchanges[number]]
        best = min(
            (
                other
                for other in candidates
                if call.span.scope not in layers[groups.find(other)]
                and layers[groups.find(number)].isdisjoint(layers[groups.find(other)])
                and _lies_within(call, calls[other])
                and ids_agree(call, calls[other])
            ),
            key=lambda other: (abs(calls[other].span.start_ns - call.span.start_ns), other),
            default=None,
        )
        if best is not None:
            joined = layers[groups.find(number)] | layers[groups.find(best)]
            groups.join(best, number)
            layers[groups.find(number)] = joined


def _where_layers_meet(calls: list[LlmCall], numbers: list[int]) -> list[int]:
    """Return the calls that another layer may have seen too: most traces have one layer, and nothing to compare."""
    scopes: dict[tuple[str, str], set[str]] = defaultdict(set)
    gateways: set[str] = set()
    for number in numbers:
        span = calls[number].span
        scopes[span.project, span.trace_id].add(span.scope)
        if is_gateway(calls[number]):
            gateways.add(span.project)
    return [
        number
        for number in numbers
        if (span := calls[number].span).project in gateways or len(scopes[span.project, span.trace_id]) > 1
    ]


def _lies_within(inner: LlmCall, outer: LlmCall) -> bool:
    if inner.response_id and outer.response_id and inner.response_id != outer.response_id:
        return False
    if is_gateway(outer):
        return False
    if not is_gateway(inner) and inner.span.trace_id != outer.span.trace_id:
        return False
    skew = CLOCK_SKEW_NS if is_gateway(inner) else 0
    if outer.streamed and inner.streamed and not skew:  # a lazy stream: the client's begins when somebody reads it
        return outer.span.start_ns <= inner.span.start_ns <= outer.span.end_ns + CLOCK_SKEW_NS
    return outer.span.start_ns - skew <= inner.span.start_ns and inner.span.end_ns <= outer.span.end_ns + skew


def _join_bare(calls: list[LlmCall], groups: _Groups, wrappers: set[int]) -> None:
    """Join a client's own bare span that no id joined to the nearest call of another layer during which it began."""
    alone = Counter(groups.find(number) for number in range(len(calls)))
    bare = [number for number, call in enumerate(calls) if is_bare(call) and alone[groups.find(number)] == 1]
    traces = {(calls[number].span.project, calls[number].span.trace_id) for number in bare}
    others: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, call in enumerate(calls if bare else ()):
        key = (call.span.project, call.span.trace_id)
        if key in traces and not (is_bare(call) or is_gateway(call) or number in wrappers):
            others[key].append(number)
    for numbers in others.values():
        numbers.sort(key=lambda number: calls[number].span.start_ns)
    taken: set[int] = set()
    for number in sorted(bare, key=lambda number: calls[number].span.start_ns):
        span = calls[number].span
        around = others[span.project, span.trace_id]
        end = bisect_right(around, span.start_ns, key=lambda other: calls[other].span.start_ns)
        for other in reversed(around[max(0, end - MOST_AT_ONCE) : end]):
            if other not in taken and _is_bare_of(calls[number], calls[other]):
                taken.add(other)
                groups.join(other, number)
                break


def _is_bare_of(bare: LlmCall, other: LlmCall) -> bool:
    """Tell whether nothing speaks against a client's bare span being of a call that another layer recorded."""
    models = {call.model_requested for call in (bare, other) if call.model_requested is not None}
    counts = {call.usage["output_tokens"] for call in (bare, other) if call.usage is not None} - {None}
    return (
        bare.span.scope != other.span.scope
        and bare.span.start_ns <= other.span.end_ns
        and (bare.error is None) == (other.error is None)
        and (bare.response_id is None or other.response_id is None)
        and max(len(models), len(counts)) <= 1
    )
