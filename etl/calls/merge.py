"""One model call, once: spans of the same call, seen by framework, client and gateway, become one, field by field.

Two spans are the same call
1. if their response ids are equal (across traces only where one is the gateway's or has no content: ids of stubs
   repeat);
2. if one lies below the other, in time too, one of them has no response id, and their answers agree, or it is the only
   call below the other and one has no answer or both have the same counts of tokens;
3. if they come from two layers that no rule above joined, the gateway and a client (many clients do not propagate
   their trace context), or two instrumentations in one trace (a stream may lose its context), question and answer are
   equal, or both failed, and one lies within the other in time, or, of streams, begins as the other ends;
4. if one is a client's own span without content that no rule above joined, and it began during the other, of the
   same model, with the same end: an answer or an error.
Never two with different response ids, and never siblings without one: identical parallel calls are real.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import fields, replace
from typing import Any

import orjson

from etl.calls.tree import Forest
from etl.dialects.conventions import anthropic_client, gateway
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.media import digests
from etl.dialects.spans import Embedding, LlmCall, Message

ITEM_ID = "fc_"
"""How ids of the Responses API's items begin, which stand for calls in some recordings."""

CLOCK_SKEW_NS = 2_000_000_000
"""How far apart the clocks of agent and gateway may be."""

MOST_AT_ONCE = 64
"""How many calls of a trace are looked at that began before a bare span and may still have been open."""

IDENTITY = {
    "span",
    "dialect",
    "agent",
    "conversation_id",
    "params",
    "truncated",
    "merged",
    "error",
    "usage",
    "finish_reasons",
    "told",
    "pieced",
    "incomplete",
}
"""Fields that do not simply come from the most exact source."""


def merge_calls(calls: list[LlmCall], forest: Forest) -> tuple[list[LlmCall], list[LlmCall]]:
    """Return the calls, each once, ordered by row; and the wrappers, model-call spans around several other calls."""
    calls = sorted(calls, key=lambda call: call.span.index)
    groups = _Groups(len(calls))
    _join_by_response_id(calls, groups)
    wrappers = _join_nested(calls, forest, groups)
    _join_layers(calls, groups, wrappers)
    _join_bare(calls, groups, wrappers)
    members: dict[int, list[LlmCall]] = defaultdict(list)
    for number, call in enumerate(calls):
        if number not in wrappers:
            members[groups.find(number)].append(call)
    merged = [_fold(group, forest) for group in members.values()]
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


def _is_bare(call: LlmCall) -> bool:
    """Tell whether a span names a call without its content, as a client's own spans do (Anthropic's)."""
    return call.input is None and call.output is None


def _is_gateway(call: LlmCall) -> bool:
    return call.dialect == gateway.DIALECT


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
                    _is_gateway(one) or _is_bare(one) for one in (call, other)
                )
                if near and _answers_agree(call, other, strict=False) and not _follow(other, call):
                    groups.join(earlier, number)
                    break


def _follow(one: LlmCall, other: LlmCall) -> bool:
    """Tell whether these are two calls of one layer, one after the other, that said different things: a stub's id."""
    spans = sorted((one.span, other.span), key=lambda span: span.start_ns)
    is_one_layer = one.span.scope == other.span.scope and one.span.trace_id == other.span.trace_id
    return is_one_layer and spans[1].start_ns >= spans[0].end_ns and not _answers_agree(one, other, strict=True)


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
    if (
        inner.span.start_ns < outer.span.start_ns - CLOCK_SKEW_NS
        or inner.span.end_ns > outer.span.end_ns + CLOCK_SKEW_NS
    ):
        return False
    if outer.output is None or inner.output is None:
        return only
    if only and _counts(outer) is not None and _counts(outer) == _counts(inner):
        return True  # whatever words the framework has for the same answer
    return _answers_agree(outer, inner, strict=True) and _usage_agrees(outer, inner)


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
    exchanges = {number: _exchange(calls[number]) for number in open_numbers}
    waiting: dict[tuple[str, str | None, bytes], list[int]] = defaultdict(list)
    for number in open_numbers:
        span, exchange = calls[number].span, exchanges[number]
        if not _is_gateway(calls[number]):
            waiting[span.project, span.trace_id, exchange].append(number)
            waiting[span.project, None, exchange].append(number)
    for number in open_numbers:
        call = calls[number]
        trace_id = None if _is_gateway(call) else call.span.trace_id  # the gateway's call may be of any trace
        candidates = waiting[call.span.project, trace_id, exchanges[number]]
        best = min(
            (
                other
                for other in candidates
                if call.span.scope not in layers[groups.find(other)]
                and layers[groups.find(number)].isdisjoint(layers[groups.find(other)])
                and _lies_within(call, calls[other])
                and _ids_agree(call, calls[other])
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
        if _is_gateway(calls[number]):
            gateways.add(span.project)
    return [
        number
        for number in numbers
        if (span := calls[number].span).project in gateways or len(scopes[span.project, span.trace_id]) > 1
    ]


def _lies_within(inner: LlmCall, outer: LlmCall) -> bool:
    if inner.response_id and outer.response_id and inner.response_id != outer.response_id:
        return False
    if _is_gateway(outer):
        return False
    if not _is_gateway(inner) and inner.span.trace_id != outer.span.trace_id:
        return False
    skew = CLOCK_SKEW_NS if _is_gateway(inner) else 0
    if outer.streamed and inner.streamed and not skew:  # a lazy stream: the client's begins when somebody reads it
        return outer.span.start_ns <= inner.span.start_ns <= outer.span.end_ns + CLOCK_SKEW_NS
    return outer.span.start_ns - skew <= inner.span.start_ns and inner.span.end_ns <= outer.span.end_ns + skew


def _join_bare(calls: list[LlmCall], groups: _Groups, wrappers: set[int]) -> None:
    """Join a client's own bare span that no id joined to the nearest call of another layer during which it began."""
    alone = Counter(groups.find(number) for number in range(len(calls)))
    bare = [number for number, call in enumerate(calls) if _is_bare(call) and alone[groups.find(number)] == 1]
    traces = {(calls[number].span.project, calls[number].span.trace_id) for number in bare}
    others: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, call in enumerate(calls if bare else ()):
        key = (call.span.project, call.span.trace_id)
        if key in traces and not (_is_bare(call) or _is_gateway(call) or number in wrappers):
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


def _exchange(call: LlmCall) -> bytes:
    """Return what was asked and answered, or that it failed; no ids, nor words beside tool calls: CrewAI drops them."""
    asked = [message_signature(message)[:3] for message in call.input or ()]  # one layer may hide what media hold
    answered = [[role, None if calls else text, calls] for role, text, calls in _answer_signature(call)]
    return orjson.dumps([asked, answered, call.error is not None], option=orjson.OPT_SORT_KEYS)


def message_signature(message: Message) -> list[Any]:
    """Return what makes two recordings of one message alike: role, text, tool calls by name and arguments, media."""
    media = digests(message)
    return [
        message["role"],
        message.get("text") or None,
        [[call["name"], call["arguments"]] for call in message.get("tool_calls") or ()],
        *([media] if media else []),
    ]


def message_key(message: Message) -> Hashable:
    """Return the same as `message_signature` in a form that is quick to compare."""
    calls = message.get("tool_calls")
    requests = orjson.dumps([[call["name"], call["arguments"]] for call in calls], default=str) if calls else None
    if message.get("parts"):
        return message["role"], message.get("text") or None, requests, tuple(digests(message))
    return message["role"], message.get("text") or None, requests


def _answer_signature(call: LlmCall) -> list[Any]:
    """Return what makes two recordings of one answer alike; a framework may write an object that it parsed anew."""
    signatures = [message_signature(message) for message in call.output or ()]
    for signature in signatures:
        if signature[1] and signature[1].startswith("{"):
            signature[1] = decode(signature[1])
    return signatures


def _answers_agree(one: LlmCall, other: LlmCall, *, strict: bool) -> bool:
    if one.output is None or other.output is None:
        return not strict
    if strict or (one.output and other.output):
        left, right = _answer_signature(one), _answer_signature(other)
        return left == right or (not strict and ("" in (_said(one), _said(other)) or _said(one) == _said(other)))
    return True


def _said(call: LlmCall) -> str:
    """Return the text of the first choice: layers may differ in how they record tool calls, never in what was said."""
    return (call.output[0].get("text") or "") if call.output else ""


def _ids_agree(one: LlmCall, other: LlmCall) -> bool:
    left, right = _tool_call_ids(one), _tool_call_ids(other)
    return not left or not right or left == right


def _tool_call_ids(call: LlmCall) -> list[str]:
    requests = [request for message in call.output or () for request in message["tool_calls"]]
    return [request["id"] for request in requests if request["id"] and not request["id"].startswith(ITEM_ID)]


def _fold(group: list[LlmCall], forest: Forest) -> LlmCall:
    if len(group) == 1:
        return group[0]
    primary = min(
        group, key=lambda call: (_is_gateway(call), -_content(call), forest.enter[call.span.index], call.span.index)
    )
    rest = sorted((call for call in group if call is not primary), key=lambda call: (-_content(call), call.span.index))
    by_exactness = sorted([primary, *rest], key=lambda call: not _is_gateway(call))
    folded = replace(primary)
    for name in (entry.name for entry in fields(LlmCall)):
        if name not in IDENTITY:
            setattr(folded, name, _first(getattr(call, name) for call in by_exactness))
    folded.incomplete = set()
    for name in ("input", "output"):
        source = _fullest(by_exactness, name)
        setattr(folded, name, getattr(source, name))
        folded.incomplete |= source.incomplete
    folded.agent = _first(call.agent for call in [primary, *rest])
    folded.conversation_id = _first(call.conversation_id for call in [primary, *rest])
    folded.error = _first(call.error for call in [primary, *rest]) if folded.output is None else primary.error
    folded.finish_reasons = next((call.finish_reasons for call in by_exactness if call.finish_reasons), [])
    by_count = sorted(by_exactness, key=lambda call: (not _is_gateway(call), call.dialect != anthropic_client.DIALECT))
    folded.usage = _fold_usage(call.usage for call in by_count)
    folded.params = {key: value for call in reversed(by_exactness) for key, value in call.params.items()}
    folded.told = [fact for call in group for fact in call.told]
    folded.pieced = {
        name
        for name in set().union(*(call.pieced for call in group))
        if all(name in call.pieced or getattr(call, name) is None for call in group)
    }
    folded.truncated = all(call.truncated for call in group)
    folded.merged = [span for call in rest for span in [call.span, *call.merged]] + primary.merged
    return folded


def _fullest(by_exactness: list[LlmCall], name: str) -> LlmCall:
    """Return the layer whose messages are the fullest, equally full ones in order of exactness.

    One that is known to be incomplete gives way to a whole one with as many messages.
    """
    fullest = max(by_exactness, key=lambda call: _facts(getattr(call, name)))
    whole = [call for call in by_exactness if not call.incomplete and getattr(call, name) is not None]
    best = max(whole, key=lambda call: _facts(getattr(call, name)), default=fullest)
    return best if len(getattr(best, name) or ()) >= len(getattr(fullest, name) or ()) else fullest


def _fold_usage(usages: Iterable[dict[str, int | None] | None]) -> dict[str, int | None] | None:
    """Take each count from the first layer that has it."""
    known = [usage for usage in usages if usage is not None]
    return {key: _first(usage[key] for usage in known) for key in known[0]} if known else None


def _first(values: Iterable[Any]) -> Any:  # noqa: ANN401 - fields of any type
    return next((value for value in values if value is not None), None)


def _facts(value: Any) -> int:  # noqa: ANN401 - any JSON value
    """Count what a recording says: every value that is there, tool calls down to their ids."""
    if isinstance(value, dict):
        return sum(_facts(item) for item in value.values())
    if isinstance(value, list):
        return sum(_facts(item) for item in value)
    return int(value is not None)


def _content(call: LlmCall) -> int:
    """How much of the exchange a span holds."""
    messages = [*(call.input or ()), *(call.output or ())]
    return _facts(messages) + 2 * len(call.tools or ()) + 3 * (call.output is not None) + (call.response_id is not None)
