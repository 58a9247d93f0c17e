"""Names the tools a call was offered, as far as calls of its role were seen to use them."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from itertools import chain
from typing import Any

from etl.dialects.shapes.messages.tools import definition
from etl.dialects.spans import LlmCall, Message, ToolCall


def complete_offers(calls: Iterable[LlmCall], causes: Iterable[tuple[ToolCall, LlmCall | None]]) -> None:
    """Name the tools that calls of one role were seen to use, in place, where the offer itself was not recorded.

    A writer that recorded the offer of one call of the role had none to record where it has none: AutoGen's agents
    sum up what their tools returned in a call without tools.
    """
    described: dict[Hashable, dict[str, Any]] = defaultdict(dict)
    for tool, _ in causes:
        name = tool.asked_as or tool.name
        if name:
            own = described[tool.span.project, tool.span.trace_id].setdefault(name, [None, None])
            own[0], own[1] = own[0] or tool.description, own[1] or tool.parameters
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
