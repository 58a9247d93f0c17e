"""Tool calls that left no span: a bare client's loop shows them only as tool messages in the next request.

What ran, with which arguments and what came back is all there, and whether it failed where the text begins as errors
do; how long it took is not. Where each call is a trace of its own, the call that asked is in another episode: then the
request tells of it too, and the results at its very end are those that no request before it had.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import orjson

from etl.dialects.spans import LlmCall, ToolCall

DIALECT = "messages"
ERROR = "Error: "
"""How a loop of the program's own commonly tells the model that a tool failed."""


def find_untraced(
    calls: list[LlmCall], tools: Iterable[ToolCall], episode_of: list[int]
) -> list[tuple[ToolCall, LlmCall | None]]:
    """Return the executions only messages tell of, each with the call that asked for it; `calls` in order of start.

    The call is None where it is not in the episode.
    """
    traced_ids: set[tuple[int, str]] = set()
    traced_requests: dict[tuple[int, bytes], int] = defaultdict(int)
    for tool in tools:
        episode = episode_of[tool.span.index]
        if tool.tool_call_id:
            traced_ids.add((episode, tool.tool_call_id))
        else:
            traced_requests[episode, _key(tool.name, tool.arguments)] += 1
            traced_requests[episode, _key(tool.name, None)] += tool.arguments is None
    asked: dict[tuple[int, str], tuple[LlmCall | None, dict[str, Any] | None]] = {}
    found: list[tuple[ToolCall, LlmCall | None]] = []
    answered: set[tuple[int, str]] = set()
    for call in calls:
        episode = episode_of[call.span.index]
        requests: dict[str, dict[str, Any]] | None = None
        for message in call.input or ():
            identifier = message.get("tool_call_id")
            if not identifier or (episode, identifier) in answered or (episode, identifier) in traced_ids:
                continue
            cause, request = asked.pop((episode, identifier), (None, None))
            if request is None:
                requests = _asked_before(call) if requests is None else requests
                request = requests.get(identifier)
            if request is None:
                continue
            answered.add((episode, identifier))
            if _take(traced_requests, episode, request):
                continue
            span = cause.span if cause is not None else call.span
            tool = ToolCall(span, DIALECT, request["name"], identifier, request["arguments"], message["text"])
            if (tool.result or "").startswith(ERROR):
                tool.error, tool.result = (tool.result or "").removeprefix(ERROR), None
            found.append((tool, cause))
        for answer in call.output or ():
            for request in answer["tool_calls"]:
                if request["id"]:
                    asked.setdefault((episode, request["id"]), (call, request))
    return found


def _asked_before(call: LlmCall) -> dict[str, dict[str, Any]]:
    """Return the tool calls that a request's last turns ask for, by id, where its very end has their results."""
    messages = call.input or []
    if not messages or messages[-1]["role"] != "tool":
        return {}
    last = next((message for message in reversed(messages) if message["role"] != "tool"), None)
    return {request["id"]: request for request in (last or {}).get("tool_calls") or () if request["id"]}


def _take(traced: dict[tuple[int, bytes], int], episode: int, request: dict[str, Any]) -> bool:
    """Tell whether a traced execution without an id is the one asked for; LangChain records an only argument bare."""
    arguments = request["arguments"]
    bare = next(iter(arguments.values())) if isinstance(arguments, dict) and len(arguments) == 1 else arguments
    for key in (_key(request["name"], arguments), _key(request["name"], bare), _key(request["name"], None)):
        if traced[episode, key] > 0:
            traced[episode, key] -= 1
            return True
    return False


def _key(name: str | None, arguments: Any) -> bytes:  # noqa: ANN401 - any JSON value
    return orjson.dumps([name, arguments], option=orjson.OPT_SORT_KEYS, default=str)
