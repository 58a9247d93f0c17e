"""Makes of what a span holds what it is: a model call, a tool's execution, an agent, whoever wrote it.

A span that no dialect reads is judged by its values. One that a dialect reads is completed by what its reader left: of
several renditions of one thing the one that tells most wins, and the others fill what it lacks.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from etl.dialects.conventions import genai
from etl.dialects.shapes.exchanges import Request, Response
from etl.dialects.shapes.executions import tool_arguments, tool_result
from etl.dialects.shapes.messages.canonical import (
    UNREAD,
    answer,
    canonical_output,
    has_content,
    join_answers,
    join_turns,
)
from etl.dialects.shapes.messages.names import visible
from etl.dialects.shapes.values import (
    complete_usage,
    flag_of,
    integer_of,
    number_of,
    strings_of,
    text_of,
    usage_of,
)
from etl.dialects.shapes.wording import restore_wording
from etl.dialects.spans import AgentSpan, Evaluation, LlmCall, Message, Reading, Span, ToolCall
from etl.dialects.structure.decoders import as_item
from etl.dialects.structure.limits import is_cut
from etl.dialects.structure.names import COUNTS, INTEGERS, NUMBERS, Kind, names_content, side_of, words_of
from etl.dialects.structure.numbered import has_gaps
from etl.dialects.structure.renditions import holds, is_block_text, lost_words, retells, told, without_answer
from etl.dialects.structure.survey import Survey, survey
from etl.dialects.structure.traffic import has_strange
from etl.schema import RejectReason

DIALECT = "structure"

MODEL_FACTS = ("model_requested", "model_returned", "response_id", "finish_reason", "input_tokens", "output_tokens")
"""Facts of which a model call has some, and few other spans any."""

MODEL_WORK = {"output_tokens", "finish_reason"}
"""Facts that no other span has."""

NOT_CALLS = {Kind.TOOL, Kind.AGENT, Kind.EVALUATION, Kind.EMBEDDING, Kind.OTHER}

UNKNOWN_REASONS = {None, "error", "unknown", "other"}
"""Finish reasons by which frameworks say that they know none."""


@dataclass(slots=True)
class Candidate:
    """A span that may be a model call, which those around and below it decide."""

    span: Span
    survey: Survey
    is_call: bool
    """Its own values say so; else it only tells of the call within it."""


def read(span: Span, found: Survey) -> Reading | Candidate | None:
    """Read a span that no dialect recognises."""
    kind = found.kind
    if kind is None:
        kind = _kind_by_content(found)
    if kind is Kind.EVALUATION:
        return Evaluation(span, DIALECT)
    if kind is Kind.TOOL:
        return read_tool(span, found)
    if kind is Kind.AGENT or (kind is not Kind.CALL and found.fact("agent") is not None and not _is_exchange(found)):
        name = found.fact("agent") or (span.name if kind is Kind.AGENT else None)
        return AgentSpan(span, DIALECT, name, text_of({"": found.fact("conversation_id")}, ""))
    if kind is Kind.EMBEDDING:
        return None
    if _is_exchange(found):
        is_call = kind is Kind.CALL or (kind is None and not found.runs and not _ends_answered(found))
        return Candidate(span, found, is_call)
    if kind is Kind.CALL and (found.facts or found.texts["input"] or found.texts["output"]):
        is_call = any(name in found.facts for name in MODEL_FACTS if name != "model_requested") or _has_sides(found)
        return Candidate(span, found, is_call)
    return None


def _kind_by_content(found: Survey) -> Kind | None:
    if "tool_name" in found.facts and not any(name in found.facts for name in MODEL_FACTS):
        return Kind.TOOL
    return None


def _is_exchange(found: Survey) -> bool:
    """Tell whether the values are those of a model call: a request with messages, or messages and an answer."""
    is_asked = any(request.input for _, request in found.requests)
    is_answered = any(response.output for _, response in found.responses) or bool(found.calls)
    is_model = (
        any(name in found.facts for name in MODEL_FACTS)
        or any(request.model or request.tools for _, request in found.requests)
        or any(response.model or response.usage for _, response in found.responses)
    )
    return (is_asked and (is_answered or is_model or bool(found.texts["output"]))) or (is_answered and is_model)


def _ends_answered(found: Survey) -> bool:
    """Tell whether what was asked ends in an answer: a run's state, of which no model is asked anything.

    A request that names its model may: its end is the beginning that the answer is to go on from.
    """
    return any(
        request.input and request.input[-1]["role"] == "assistant" and request.model is None
        for _, request in found.requests
    )


def _has_sides(found: Survey) -> bool:
    return bool(found.texts["input"]) and bool(found.texts["output"])


def read_call(span: Span, found: Survey) -> LlmCall:
    """Read a model call of which only the values tell."""
    call = genai.read_call(span, DIALECT)
    complete(call, found)
    _judge_limits(call, found, has_lost=bool(span.dropped_attributes) or found.has_gaps)
    if found.has_cut or is_cut(span):
        call.truncated = True
        call.incomplete.add(RejectReason.VALUES_CUT)
    asked, answered = (_only({text for _, text in found.texts[side]}) for side in ("input", "output"))
    if call.input is None and asked is not None:
        call.input = [{"role": "user", "text": asked}]
        add_instructions(call, found)
        if call.api != "completions":
            call.pieced.add("input")  # words alone: nothing says that there were no others, nor whose they are
    if call.output is None and answered is not None and not span.failed:
        _say(call, answered, found)
    _join_items(call)
    restore_wording(call)
    return call


def _say(call: LlmCall, words: str, found: Survey) -> None:
    """Take words that stand alone as the answer, in place.

    Who puts a stream together keeps its words and may drop its calls of tools; that there were none, where tools were
    offered, only a reason says.
    """
    said = call.output[0] if call.output else answer(None, [])
    reason = said["finish_reason"] or _reason(found)
    call.output = [{**said, "text": words, "finish_reason": reason}]
    is_offered = call.tools or found.tools or any(request.tools for _, request in found.requests)
    is_streamed = call.streamed or any(request.streamed for _, request in found.requests)
    if is_streamed and is_offered and reason is None and not call.finish_reasons:
        call.pieced.add("output")


def _only(texts: set[str]) -> str | None:
    """Return the only text that says anything; of several nobody knows which is meant."""
    said = [text for text in texts if visible(text)]
    return said[0] if len(said) == 1 else None


def complete(call: LlmCall, found: Survey) -> None:
    """Give a call, in place, what its span holds and its reader left.

    A dialect's reader knows what its library distorts, so what it read stays, but for messages that lack something.
    """
    requests = sorted((request for _, request in found.requests), key=lambda r: -told(r.input))
    responses = sorted((response for _, response in found.responses), key=lambda r: (-told(r.output), r.api is None))
    _complete_input(call, requests, responses, found)
    _complete_output(call, responses, found)
    if call.dialect == DIALECT:
        _complete_settings(call, requests, responses, found)
    for request in requests:
        call.streamed = request.streamed if call.streamed is None else call.streamed
        call.tools = call.tools or request.tools
    for response in responses:
        call.usage = complete_usage(call.usage, _counted(response.usage))
        call.streamed = response.streamed if call.streamed is None else call.streamed
    for _, tools in found.tools:
        call.tools = call.tools or tools
    facts = {name: value for name, (_, value) in found.facts.items()}
    call.streamed = flag_of(facts, "streamed") if call.streamed is None else call.streamed
    counts = usage_of(**{name: integer_of(facts, name) for name in COUNTS})
    call.usage = complete_usage(call.usage, _counted(counts))
    if flag_of(facts, "partial"):
        call.incomplete.add(RejectReason.LEFT_EARLY)


def complete_read(call: LlmCall) -> None:
    """Complete a call that a dialect read, in place, where its span holds something strange, or it lacks something.

    What limits took from the span is noted, unless the request stands there whole all the same.
    """
    span = call.span
    names = tuple(span.attributes)
    has_lost = bool(span.dropped_attributes) or has_gaps(names)
    if is_cut(span):
        call.truncated = True
        call.incomplete.add(RejectReason.VALUES_CUT)
    is_silent = not span.failed and not any(has_content(message) for message in call.output or ())
    if has_lost or is_silent or _is_poor(call) or has_strange(names) or _may_lack_words(call):
        found = survey(span)
        complete(call, found)
        _judge_limits(call, found, has_lost=has_lost)
        asked = _only({text for _, text in found.texts["input"]})
        if call.input is None and call.api == "completions" and asked is not None:
            call.input = [{"role": "user", "text": asked}]  # all that such a request has
    _join_items(call)


def _may_lack_words(call: LlmCall) -> bool:
    """Tell whether an answer calls tools and says nothing, while words stand on the answer's side of its span."""
    return any(message["tool_calls"] and not message["text"] for message in call.output or ()) and any(
        isinstance(value, str)
        and value.strip()
        and not value.startswith(("{", "[", '"'))
        and side_of(words := words_of(name)) == "output"
        and names_content(words)
        for name, value in call.span.attributes.items()
    )


def _join_items(call: LlmCall) -> None:
    """Make turns of the items that the Responses API has, in place; choices have an id of another kind."""
    if call.api != "responses" and not (call.response_id or "").startswith("resp_"):
        return
    if len(call.output or ()) > 1:
        call.output = join_answers(call.output or [])
    if ("assistant", "assistant") in pairwise(message["role"] for message in call.input or ()):
        call.input = join_turns(call.input or [])


def _judge_limits(call: LlmCall, found: Survey, *, has_lost: bool) -> None:
    listed = integer_of({"": found.fact("original_length")}, "")
    kept = sum(message["role"] != "system" for message in call.input or ())
    is_short = listed is not None and listed > kept
    if not has_lost and not is_short:
        return
    wholes = (
        request
        for place, request in found.requests
        if ".N" not in place and (not call.span.dropped_attributes or _has_instructions(request, call))
    )  # a gap alone is no loss that the SDK counts: OpenInference leaves the place of instructions empty
    if is_short or not any(told(whole.input) >= told(call.input) for whole in wholes):
        call.truncated = True
        call.incomplete.add(RejectReason.ATTRIBUTES_DROPPED)


def _has_instructions(request: Request, call: LlmCall) -> bool:
    """Tell whether a request lacks no instructions: a body has them all, beside a list of messages they may stand."""
    return request.model is not None or any(message["role"] == "system" for message in call.input or ())


def _counted(usage: dict[str, int | None] | None) -> dict[str, int | None] | None:
    """Return counts, None where they are the zeros of a stream that nobody counted."""
    return usage if usage is not None and (usage["input_tokens"] or usage["output_tokens"]) else None


def _complete_settings(call: LlmCall, requests: list[Request], responses: list[Response], found: Survey) -> None:
    """Add what is said of the call beside its messages: models, ids, parameters, names, reasons."""
    for request in requests:
        call.model_requested = call.model_requested or request.model
        call.params = {**request.params, **call.params}
        call.api = call.api or request.api
    for response in responses:
        if call.response_id is None and response.response_id is not None:
            call.response_id, call.api = response.response_id, response.api or call.api
        call.model_returned = call.model_returned or response.model
    facts = {name: value for name, (_, value) in found.facts.items()}
    for name in ("model_requested", "model_returned", "response_id", "provider", "agent", "conversation_id"):
        if getattr(call, name) is None:
            setattr(call, name, text_of(facts, name))
    for name in NUMBERS:
        if name not in call.params and (number := number_of(facts, name)) is not None:
            call.params[name] = number
    for name in INTEGERS:
        if name not in call.params and (integer := integer_of(facts, name)) is not None:
            call.params[name] = integer
    reason = _reason(found)
    if reason is not None and not call.finish_reasons:
        call.finish_reasons = [reason]
    for message, own in zip(call.output or (), call.finish_reasons, strict=False):
        message["finish_reason"] = message["finish_reason"] or own


def _reason(found: Survey) -> str | None:
    reasons = strings_of({"": found.fact("finish_reason")}, "")
    return reasons[0] if reasons else None


def _complete_input(call: LlmCall, requests: list[Request], responses: list[Response], found: Survey) -> None:
    best = next((request.input for request in requests if request.input), None)
    answers = [*(call.output or ())[:1], *(response.output[0] for response in responses if response.output)]
    best = without_answer(best, answers) if best is not None else None
    is_better = call.input is None or (told(best) > told(call.input) and holds(best or [], call.input))
    is_as_long = call.input is None or len(best or ()) >= len(call.input)
    if best is not None and is_better and is_as_long and _is_poor(call):
        before = call.input
        call.input = best
        if all(message["role"] == "system" for message in before or ()):
            call.pieced.discard("input")  # instructions stood apart, and these are the messages
        add_system(call, before)
    for request in requests:
        add_system(call, request.input)
    add_instructions(call, found)
    for response in responses:
        add_system(call, [{"role": "system", "text": response.instructions}] if response.instructions else None)
    renditions = (without_answer(request.input, answers) for request in requests if request.input)
    if call.input is not None and any(_contradict(call.input, rendition) for rendition in renditions):
        call.incomplete.add(RejectReason.CONTRADICTORY)


def _contradict(one: list[Message], other: list[Message]) -> bool:
    """Tell whether of two renditions of a request each says what the other does not."""
    return not holds(one, other) and not holds(other, one)


def add_instructions(call: LlmCall, found: Survey) -> None:
    """Put the instructions that stand apart before a request that has none, in place."""
    system = found.fact("system")
    if isinstance(system, list) and len(system) == 1 and isinstance(system[0], str):
        system = system[0]
    if system and call.input and call.input[0]["role"] != "system":
        text = genai.instructions_of({"gen_ai.system_instructions": system})
        add_system(call, [{"role": "system", "text": text}] if text else None)


def _is_poor(call: LlmCall) -> bool:
    """Tell whether a request, as it was read, lacks something: a text, a call of a tool or its result, words."""
    if call.dialect == DIALECT or call.input is None or call.truncated:
        return True
    has_calls, waiting = False, 0
    for message in call.input:
        waiting += len(message.get("tool_calls") or ()) - (message["role"] == "tool")
        has_calls = has_calls or bool(message.get("tool_calls"))
        says = message.get("text") is not None or message.get("tool_calls") or message.get("media")
        if not says or UNREAD in message or (message["role"] == "tool" and not has_calls) or is_block_text(message):
            return True
    return waiting > 0 or all(message["role"] == "system" for message in call.input)


def add_system(call: LlmCall, other: list[Message] | None) -> None:
    """Keep the system message that another reading of the request began with, in place."""
    if call.input and other and other[0]["role"] == "system" and all(m["role"] != "system" for m in call.input):
        call.input = [other[0], *call.input]


def _complete_output(call: LlmCall, responses: list[Response], found: Survey) -> None:
    best = next((response for response in responses if response.output), None)
    if best is not None and call.api == "responses":
        best = replace(best, output=join_answers(best.output or []))
    is_open = call.dialect == DIALECT or not any(has_content(message) for message in call.output or ())
    if best is not None and is_open and not call.span.failed and told(best.output) > told(call.output):
        reasons = [message["finish_reason"] for message in call.output or ()]
        call.output = best.output
        call.api = best.api or call.api
        for message, reason in zip(call.output or (), reasons, strict=False):
            message["finish_reason"] = message["finish_reason"] or reason
    _add_words(call, found)
    if any(lost_words(call.output, response.output) for response in responses):
        call.incomplete.add(RejectReason.CONTRADICTORY)
    calls = [entry for _, entries in found.calls for entry in entries] if len(found.calls) == 1 else []
    if calls and not any(message["tool_calls"] for message in call.output or ()):
        made = canonical_output([{"role": "assistant", "tool_calls": [as_item(entry) for entry in calls]}])[0][
            "tool_calls"
        ]
        texts = [text for _, text in found.texts["output"] if text] if not call.output else []
        said = call.output[0] if call.output else answer(texts[0] if texts else None, [], None, _reason(found))
        call.output = [{**said, "text": said["text"] or None, "tool_calls": made}]
    words = {text for _, text in found.texts["output"] if visible(text) and text != '""'}
    if len(words) == 1 and not call.span.failed and not any(has_content(message) for message in call.output or ()):
        _say(call, words.pop(), found)
    if is_open:
        for message, own_reason in zip(call.output or (), call.finish_reasons, strict=False):
            message["finish_reason"] = message["finish_reason"] or own_reason
    for response in responses:
        for message, other in zip(call.output or (), response.output or (), strict=False):
            if other["finish_reason"] not in UNKNOWN_REASONS:
                message["finish_reason"] = message["finish_reason"] or other["finish_reason"]
    reason = _reason(found)
    if reason not in UNKNOWN_REASONS and len(call.output or ()) == 1:
        for message in call.output or ():
            message["finish_reason"] = message["finish_reason"] or reason


def _add_words(call: LlmCall, found: Survey) -> None:
    """Add to calls of tools, in place, the words beside them in one rendition; whose other words are nobody knows."""
    said = (call.output or [answer(None, [])])[0]
    calls = said["tool_calls"]
    words = {text for _, text in found.texts["output"] if visible(text) and text.strip() and not retells(text, calls)}
    if not said["tool_calls"] or said["text"] or not words or len(call.output or ()) > 1:
        return
    beside = {place.rpartition(".")[0] for place, _ in found.calls}
    beside &= {place.rpartition(".")[0] for place, _ in found.texts["output"]}
    if len(words) == 1 and len(found.calls) == 1 and beside and len(found.calls[0][1]) == len(said["tool_calls"]):
        call.output = [{**said, "text": words.pop()}]
    else:
        call.incomplete.add(RejectReason.CONTRADICTORY)


def read_tool(span: Span, found: Survey) -> ToolCall | None:
    """Read the execution of a tool."""
    facts = {name: value for name, (_, value) in found.facts.items()}
    name = text_of(facts, "tool_name") or span.name.removeprefix("execute_tool ").removesuffix(".tool")
    arguments = facts.get("tool_arguments", _first_of(found.values["input"]))
    result = facts.get("tool_result", _first_of(found.values["output"]))
    if "tool_name" not in facts and arguments is None and result is None:
        return None
    failure = (span.status_message or genai.exception_message(span) or "error") if span.failed else None
    return ToolCall(
        span,
        DIALECT,
        name=name or None,
        tool_call_id=text_of(facts, "tool_call_id"),
        arguments=tool_arguments(arguments),
        result=None if failure else tool_result(result),
        error=failure,
        description=text_of(facts, "tool_description"),
    )


def _first_of(values: list[tuple[str, Any]]) -> Any:  # noqa: ANN401 - any attribute value
    return values[0][1] if values else None


def lacks(call: LlmCall) -> bool:
    """Tell whether a span around a call may know more of it."""
    said = bool(call.output) and all(has_content(message) for message in call.output or ())
    asked = any(message["role"] != "system" for message in call.input or ())
    return not said or not asked or call.response_id is None
