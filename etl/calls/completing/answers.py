"""Gives calls what their own spans leave out of the answer: facts of other spans, the empty text, proven tool calls.

What is put together of tool executions is fact, but not the whole answer, and named in the call's `pieced`: transitions
are made of none of it (`etl.transitions`).
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from itertools import chain

from etl.calls.wholeness import ASKS_FOR_TOOLS
from etl.dialects.shapes.client_dump import api_of_id
from etl.dialects.shapes.exchanges import answer_signature
from etl.dialects.shapes.messages.canonical import answer, has_content
from etl.dialects.shapes.values import complete_usage
from etl.dialects.shapes.wording import alias_of
from etl.dialects.spans import AnswerFact, LlmCall, Message, Span, ToolCall

ENDED = {None, "stop", "end_turn", "completed"}
"""Finish reasons of an answer that the model itself ended."""


FORGETS_REFUSALS = {"opentelemetry.instrumentation.openai_v2", "opentelemetry.util.genai.handler"}
"""Scopes that leave out a refusal too, so that nothing tells it from the empty text."""


def complete_models(calls: Iterable[LlmCall]) -> None:
    """Name the model that was asked for, in place, where only the dated one that answered is recorded."""
    for call in calls:
        alias = alias_of(call.model_returned) if call.model_requested is None else None
        if alias is not None:
            call.model_requested = alias
            call.pieced.add("model_requested")


def complete_from_facts(calls: Iterable[LlmCall], facts: Iterable[tuple[Span, AnswerFact]]) -> None:
    """Give calls what the spans around them tell of their answers, in place."""
    known: dict[Hashable, AnswerFact] = {}
    identifiers: dict[Hashable, set[str]] = defaultdict(set)
    calls = list(calls)
    for span, told in chain(facts, ((call.span, fact) for call in calls for fact in call.told)):
        for key in (told.response_id, told.signature):
            if key:
                known.setdefault((span.project, span.trace_id, key), told)
        if told.response_id is not None:
            identifiers[span.project, span.trace_id, told.signature].add(told.response_id)
    alike = Counter(map(_signed, calls)) if known else {}
    for call in calls if known else ():
        by_id = (call.span.project, call.span.trace_id, call.response_id)
        found = (known.get(key) for key in (by_id, _signed(call)))
        fact = next((candidate for candidate in found if candidate is not None), None)
        if fact is None:
            continue
        if fact.model is not None and call.model_returned in (None, call.model_requested):
            call.model_returned = fact.model
        if call.output and call.output[0]["finish_reason"] is None:
            call.output[0]["finish_reason"] = fact.finish_reason
        if call.output and call.output[0]["text"] is None and fact.text:
            call.output[0]["text"] = fact.text
        call.streamed = fact.streamed if call.streamed is None else call.streamed
        is_only = alike[_signed(call)] == 1 and len(identifiers[_signed(call)]) == 1
        if call.response_id is None and (is_only or _asks_for_tools(call)):  # no other answer has these ids
            call.response_id = fact.response_id
            call.api = api_of_id(fact.response_id) or call.api
        call.usage = complete_usage(call.usage, fact.usage)


def _signed(call: LlmCall) -> Hashable:
    """Return what an answer is known by among those of its trace."""
    signature = answer_signature(call.output[0]) if call.output else ""
    return call.span.project, call.span.trace_id, signature


def _asks_for_tools(call: LlmCall) -> bool:
    return any(request["id"] for message in call.output or () for request in message["tool_calls"])


def complete_empty_answers(calls: Iterable[LlmCall]) -> None:
    """Give answers that the model ended at once the empty text they are, in place: recordings leave it out.

    That it is one is proven by the count of its tokens, of which the end may be one, in a call whose content was
    recorded otherwise.
    """
    for call in calls:
        own = call.output[0] if call.output and len(call.output) == 1 else None
        if own is None or own["text"] is not None or has_content(own) or own["finish_reason"] not in ENDED:
            continue
        if _ended_at_once(call):
            _be_empty(call, own)


def _be_empty(call: LlmCall, answered: Message) -> None:
    """Make an answer the empty text; with one token written, a text of one token may have been lost as well."""
    answered["text"] = ""
    if (call.usage or {}).get("output_tokens"):
        call.pieced.add("output")


def _said_nothing(call: LlmCall) -> bool:
    return len(call.finish_reasons) == 1 and call.finish_reasons[0] in ENDED and _ended_at_once(call)


def _ended_at_once(call: LlmCall) -> bool:
    written = (call.usage or {}).get("output_tokens")
    if call.span.scope in FORGETS_REFUSALS:
        return False
    is_captured = any(message.get("text") for message in call.input or ()) and "input" not in call.pieced
    return is_captured and call.error is None and written is not None and written <= 1


def complete_answers(calls: Iterable[LlmCall], causes: Iterable[tuple[ToolCall, LlmCall | None]]) -> None:
    """Give calls whose answer was not recorded its finish reasons and the tool calls that are proven, in place."""
    ran: dict[int, list[ToolCall]] = defaultdict(list)
    for tool, call in causes:
        if call is not None and (call.output is None or _lacks_calls(call)):
            ran[call.span.index].append(tool)
    for call in calls:
        if (call.output is not None and not _lacks_calls(call)) or call.error is not None:
            continue
        executed = sorted(ran[call.span.index], key=lambda tool: (tool.span.start_ns, tool.span.span_id))
        proven = [
            {"id": tool.tool_call_id, "name": tool.asked_as or tool.name, "arguments": tool.arguments}
            for tool in executed
        ]
        if call.output is not None:
            if proven:
                call.output = [{**call.output[0], "tool_calls": proven}]
                call.pieced.add("output")
            continue
        if _said_nothing(call):
            call.output = [answer("", [], None, next(iter(call.finish_reasons), None))]
            _be_empty(call, call.output[0])
            continue
        reasons: list[str | None] = [*call.finish_reasons] or ([None] if proven else [])
        if reasons:
            call.output = [answer(None, proven if number == 0 else [], None, r) for number, r in enumerate(reasons)]
            call.pieced.add("output")


def _lacks_calls(call: LlmCall) -> bool:
    """Tell whether the one answer ended in calls of tools that were not recorded with it."""
    if call.output is None or len(call.output) != 1 or call.output[0]["tool_calls"]:
        return False
    return call.output[0]["finish_reason"] in ASKS_FOR_TOOLS
