"""Fills in what a span leaves out and its neighbours tell; every field filled so is named in the call's `pieced`.

A model call whose content was not recorded keeps its finish reason, and the tool calls its tool spans prove. Offered
tools are known at least where they were called. A model asked for by its alias answers with its date. A tool span
without arguments or result finds them in the messages under its id. What is put together so is fact, but not the
whole: transitions are made of none of it (`etl.transitions`).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from itertools import chain
from typing import Any

import orjson

from etl.calls.completing.in_band_errors import move_errors
from etl.calls.wholeness import ASKS_FOR_TOOLS
from etl.dialects.shapes.client_dump import api_of_id
from etl.dialects.shapes.exchanges import answer_signature
from etl.dialects.shapes.messages import answer, definition, has_content
from etl.dialects.shapes.values import complete_usage, error_of
from etl.dialects.shapes.wording import alias_of
from etl.dialects.spans import AnswerFact, LlmCall, Message, Span, ToolCall, ToolFact
from etl.schema import RejectReason

RAISED = re.compile(r"""^[A-Za-z_][\w.]*\((['"])(.*)\1,?\)$""", re.DOTALL)
"""An exception as Python's repr writes it."""

FORGETFUL = {"genai", "traceloop"}
"""Dialects that leave out the text of an earlier answer that also asked for tools."""

TRACEBACK = "Traceback (most recent call last):"

CLIENT_SAID = re.compile(r"^[\w.]+: (Error code: \d{3} - .*)$", re.MULTILINE)
"""How OpenAI's and Anthropic's clients end a traceback."""

NAMED = re.compile(r"^[\w.]*(?:Error|Exception): (.+)$", re.DOTALL)
"""An exception as a traceback's last line writes it."""


def error_text(text: str) -> str:
    """Return an error's own words, without the name of its class.

    >>> error_text("OrderServiceError('no stock')"), error_text("app.OrderServiceError: no stock")
    ('no stock', 'no stock')
    """
    text = text.split(TRACEBACK, 1)[0].rstrip()
    match = RAISED.match(text)
    if match:
        return match.group(2)
    match = NAMED.match(text)
    return match.group(1) if match else text


def complete_models(calls: Iterable[LlmCall]) -> None:
    """Name the model that was asked for, in place, where only the dated one that answered is recorded."""
    for call in calls:
        alias = alias_of(call.model_returned) if call.model_requested is None else None
        if alias is not None:
            call.model_requested = alias
            call.pieced.add("model_requested")


def complete_from_around(calls: Iterable[LlmCall], facts: Iterable[tuple[Span, AnswerFact]]) -> None:
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


def complete_errors(calls: Iterable[LlmCall]) -> None:
    """Give errors the status and code that only their stack trace has, in place: frameworks put words of their own."""
    for call in calls:
        if call.error is None or None not in (call.error["http_status"], call.error["code"]):
            continue
        traces = [(event.get("attributes") or {}).get("exception.stacktrace") for event in call.span.events]
        for trace in [*traces, call.span.attributes.get("error.stack_trace")]:
            said = CLIENT_SAID.findall(trace) if isinstance(trace, str) else []
            told = error_of(said[-1]) if said else {}
            if told and told["message"] and told["message"] in (call.error["message"] or ""):
                call.error["message"] = told["message"]
            for name in ("http_status", "code"):
                call.error[name] = told.get(name) if call.error[name] is None else call.error[name]


def complete_histories(calls: Iterable[LlmCall]) -> None:
    """Give requests the text that an earlier answer had beside its tool calls, in place, where they leave it out."""
    said: dict[Hashable, str] = {}
    for call in calls:
        for message in call.output or ():
            if message["text"] and message["tool_calls"]:
                for key in _known_by(message):
                    said[call.span.project, call.span.trace_id, key] = message["text"]
    for call in calls if said else ():
        for position, message in enumerate(call.input or ()):
            if not message.get("tool_calls") or message.get("text"):
                continue
            found = (said.get((call.span.project, call.span.trace_id, key)) for key in _sought_by(message))
            text = next((one for one in found if one is not None), None)
            if text is not None and call.dialect not in FORGETFUL:
                call.incomplete.add(RejectReason.CONTRADICTORY)  # the agent dropped the words, or its recorder did
            elif text is not None and call.input is not None:
                call.input[position] = {**message, "text": text}


def _known_by(message: Message) -> list[Hashable]:
    """Return what an answer's calls of tools are known by: ids and what they ask for, or that they have no ids."""
    identifiers, asked = _asked(message)
    return [identifiers, ("any", asked)] if all(identifiers) else [("nameless", asked), ("any", asked)]


def _sought_by(message: Message) -> list[Hashable]:
    """Return what the answer is known by that a history repeats: where both have ids, by these alone."""
    identifiers, asked = _asked(message)
    return [identifiers, ("nameless", asked)] if all(identifiers) else [("any", asked)]


def _asked(message: Message) -> tuple[tuple[Any, ...], bytes]:
    requests = message["tool_calls"]
    asked = [[request["name"], request["arguments"]] for request in requests]
    return tuple(request["id"] for request in requests), orjson.dumps(asked, default=str)


def complete_tools(tools: Iterable[ToolCall], calls: Iterable[LlmCall], facts: Iterable[tuple[Span, ToolFact]]) -> None:
    """Give tool executions what messages tell under their id, in place, and their errors in their own words.

    Under an id that was used again nothing is told of either execution.
    """
    calls = list(calls)
    known: dict[Hashable, ToolFact] = {}

    def told_of(span: Span, identifier: str) -> ToolFact:
        key = (span.project, span.trace_id, identifier)
        if key not in known:
            known[key] = ToolFact(identifier)
        return known[key]

    for span, fact in facts:
        own = told_of(span, fact.tool_call_id)
        own.name = own.name or fact.name
        own.arguments = fact.arguments if own.arguments is None else own.arguments
        own.result = fact.result if own.result is None else own.result
        own.error = fact.error if own.error is None else own.error
    wanted = {tool.tool_call_id for tool in tools if tool.tool_call_id and _is_bare(tool)}
    for call in calls if wanted else ():
        for message in chain(call.input or (), call.output or ()):
            for request in message.get("tool_calls") or ():
                if request["id"] in wanted:
                    own = told_of(call.span, request["id"])
                    own.name = own.name or request["name"]
                    own.arguments = request["arguments"] if own.arguments is None else own.arguments
            if message.get("tool_call_id") in wanted and message["role"] == "tool":
                own = told_of(call.span, message["tool_call_id"])
                own.result = message["text"] if own.result is None else own.result
    again = _used_again(calls) if known else set()
    for tool in tools:
        key = (tool.span.project, tool.span.trace_id, tool.tool_call_id)
        told = known.get(key) if key not in again else None
        if told is not None:
            tool.arguments = told.arguments if tool.arguments is None else tool.arguments
            tool.error = told.error if tool.error is None and tool.result is None else tool.error
            tool.result = told.result if tool.result is None and tool.error is None else tool.result
        move_errors(tool)
        if tool.error is not None:
            tool.error = error_text(tool.error)


def _used_again(calls: Iterable[LlmCall]) -> set[Hashable]:
    """Return (project, trace, id) of ids under which one conversation, or two answers, asked for different things."""
    again: set[Hashable] = set()
    asked: dict[Hashable, Any] = {}
    for call in calls:
        own: dict[Hashable, Any] = {}
        for message in chain(call.input or (), (call.output or ())[call.choice :][:1]):
            for request in message.get("tool_calls") or ():
                key = (call.span.project, call.span.trace_id, request["id"])
                if own.setdefault(key, request) is not request:
                    again.add(key)
        for message in call.output or ():
            for request in message.get("tool_calls") or ():
                key, what = (
                    (call.span.project, call.span.trace_id, request["id"]),
                    (request["name"], request["arguments"]),
                )
                if asked.setdefault(key, what) != what:
                    again.add(key)
    return again


def _is_bare(tool: ToolCall) -> bool:
    return tool.arguments is None or (tool.result is None and tool.error is None)


ENDED = {None, "stop", "end_turn", "completed"}
"""Finish reasons of an answer that the model itself ended."""


FORGETS_REFUSALS = {"opentelemetry.instrumentation.openai_v2", "opentelemetry.util.genai.handler"}
"""Scopes that leave out a refusal too, so that nothing tells it from the empty text."""


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


def complete_arguments(causes: Iterable[tuple[ToolCall, LlmCall | None]]) -> None:
    """Give a tool that lacks its arguments, or has its only one bare, as by LangChain, what it was asked with."""
    for tool, call in causes:
        if call is not None and tool.arguments is None and tool.tool_call_id:
            answers = call.output or ()
            own = [r for message in answers for r in message["tool_calls"] if r["id"] == tool.tool_call_id]
            tool.arguments = own[0]["arguments"] if len(own) == 1 else None
        if call is None or not isinstance(tool.arguments, str):
            continue
        asked = [
            request["arguments"]
            for message in call.output or ()
            for request in message["tool_calls"]
            if request["name"] == tool.name and isinstance(request["arguments"], dict)
        ]
        fitting = [arguments for arguments in asked if list(arguments.values()) == [tool.arguments]]
        if fitting:
            tool.arguments = fitting[0]


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


def complete_offers(calls: Iterable[LlmCall], causes: Iterable[tuple[ToolCall, LlmCall | None]]) -> None:
    """Name the tools that calls of one role were seen to use, in place, where the offer itself was not recorded.

    A writer that recorded the offer of one call of the role had none to record where it has none: AutoGen's agents
    sum up what their tools returned in a call without tools.
    """
    described: dict[Hashable, dict[str, Any]] = defaultdict(dict)
    for tool, call in causes:
        name = tool.asked_as or tool.name
        if name:
            own = described[tool.span.project, tool.span.trace_id].setdefault(name, [None, None])
            own[0], own[1] = own[0] or tool.description, own[1] or tool.parameters
        del call
    seen: dict[Hashable, dict[str, None]] = defaultdict(dict)
    calls = list(calls)
    open_calls = [call for call in calls if call.tools is None or "tools" in call.pieced]
    roles = {call.span.index: _role(call) for call in (calls if open_calls else ())}
    recorded = {(roles[call.span.index], call.span.scope) for call in calls if roles and _is_offer_recorded(call)}
    open_calls = [
        call
        for call in open_calls
        if call.tools is not None or call.truncated or (roles[call.span.index], call.span.scope) not in recorded
    ]
    asked_by = {
        (call.span.project, call.span.trace_id, request["id"]): roles[call.span.index]
        for call in (calls if open_calls else ())
        for message in call.output or ()
        for request in message["tool_calls"]
    }
    for call in open_calls:
        role = roles[call.span.index]
        names = seen[role]
        for message in chain(call.input or (), call.output or ()):
            for request in message.get("tool_calls") or ():
                if not request["name"] or request["name"] in names:
                    continue
                key = (call.span.project, call.span.trace_id, request["id"])
                if asked_by.get(key, role) == role:  # a history may be another agent's
                    names[request["name"]] = None
    for call in open_calls:
        offered = call.tools or [definition({"name": name}) or {} for name in seen[roles[call.span.index]]]
        known = described[call.span.project, call.span.trace_id]
        if offered:
            call.tools = [_described(tool, *known.get(tool["name"], (None, None))) for tool in offered]
            call.pieced.add("tools")


def _is_offer_recorded(call: LlmCall) -> bool:
    return call.tools is not None and "tools" not in call.pieced


def _described(tool: dict[str, Any], description: str | None, parameters: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "name": tool["name"],
        "description": description if tool["description"] is None else tool["description"],
        "parameters": parameters if tool["parameters"] is None else tool["parameters"],
    }


def _role(call: LlmCall) -> Hashable:
    first: Message = call.input[0] if call.input else {"role": None, "text": None}
    instructions = first.get("text") if first["role"] == "system" else None
    return call.span.project, call.span.trace_id, call.agent, instructions
