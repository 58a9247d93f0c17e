"""Tool calls that left no span: a bare client's loop shows them only as tool messages in the next request.

What ran, with which arguments and what came back is all there, and whether it failed where the text begins as errors
do; how long it took is not. Where each call is a trace of its own, the call that asked is in another episode: then the
request tells of it too, and the results at its very end are those that no request before it had.

Servers number the tool calls of every answer anew, so an id alone names no execution: the tool, its arguments and how
often a request holds the same before do.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

import orjson

from etl.calls.completing.in_band_errors import move_errors
from etl.dialects.spans import LlmCall, Message, ToolCall

DIALECT = "messages"
ERROR = "Error: "
"""How a loop of the program's own commonly tells the model that a tool failed."""

Request = dict[str, Any]


def find_untraced(
    calls: list[LlmCall], asked_by: Iterable[tuple[ToolCall, LlmCall | None]], episode_of: list[int]
) -> list[tuple[ToolCall, LlmCall | None]]:
    """Return the executions only messages tell of, each with the call that asked for it; `calls` in order of start.

    The call is None where it is not in the episode. `asked_by` are the traced executions with the calls
    that asked for them by their ids.
    """
    traced = _Traced(asked_by, episode_of)
    asked: dict[Hashable, list[LlmCall]] = defaultdict(list)
    by_id: dict[Hashable, list[tuple[LlmCall, Request]]] = defaultdict(list)
    for call in calls:
        for answer in call.output or ():
            for request in answer["tool_calls"]:
                if request["id"]:
                    asked[_execution(call, request, episode_of)].append(call)
                    by_id[episode_of[call.span.index], call.agent, request["id"]].append((call, request))
    known: Counter[Hashable] = Counter()
    found: list[tuple[ToolCall, LlmCall | None]] = []
    for call in calls:
        own: Counter[Hashable] = Counter()
        for asked_for, message, is_last in _answered(call.input or []):
            request = asked_for
            if request is None:  # some recorders leave the calls of tools out of the history
                known_by_id = by_id.get((episode_of[call.span.index], call.agent, message["tool_call_id"]), ())
                before = [one for asker, one in known_by_id if asker.span.start_ns < call.span.start_ns]
                if not before:
                    continue
                request = before[-1]
            key = _execution(call, request, episode_of)
            own[key] += 1
            if own[key] <= known[key]:
                continue
            askers = asked.get(key, ())
            cause = askers[own[key] - 1] if own[key] <= len(askers) else None
            if cause is call or (cause is None and not is_last):
                continue  # asked for in an episode before: its own tells of the result
            known[key] += 1
            if traced.takes(cause, request, episode_of[call.span.index]):
                continue
            span = cause.span if cause is not None else call.span
            tool = ToolCall(span, DIALECT, request["name"], request["id"], request["arguments"], message["text"])
            move_errors(tool)
            if tool.error is None and (message.get("is_error") or (tool.result or "").startswith(ERROR)):
                tool.error, tool.result = (tool.result or "").removeprefix(ERROR) or "error", None
            found.append((tool, cause))
    return found


def _answered(messages: list[Message]) -> Iterator[tuple[Request | None, Message, bool]]:
    """Return the tool calls of a request, None where it lacks one, with their results, and whether these are last.

    A result is of the latest call before it that asked with its id and has none yet.
    """
    last = len(messages)
    while last and messages[last - 1]["role"] == "tool":
        last -= 1
    waiting: dict[str, list[Request]] = defaultdict(list)
    for position, message in enumerate(messages):
        for request in message.get("tool_calls") or ():
            if request["id"]:
                waiting[request["id"]].append(request)
        identifier = message.get("tool_call_id")
        if identifier and message["role"] == "tool":
            yield waiting[identifier].pop() if waiting.get(identifier) else None, message, position >= last


def _execution(call: LlmCall, request: Request, episode_of: list[int]) -> Hashable:
    return (episode_of[call.span.index], call.agent, request["id"], _key(request["name"], request["arguments"]))


class _Traced:
    """The executions that have spans, each to be found once by what a request tells of it."""

    def __init__(self, causes: Iterable[tuple[ToolCall, LlmCall | None]], episode_of: list[int]) -> None:
        self._by_cause: Counter[Hashable] = Counter()
        self._by_id: Counter[Hashable] = Counter()
        self._by_request: Counter[Hashable] = Counter()
        for tool, cause in causes:
            episode = episode_of[tool.span.index]
            if tool.tool_call_id and cause is not None:
                self._by_cause[cause.span.index, tool.tool_call_id] += 1
            elif tool.tool_call_id:
                self._by_id[episode, tool.tool_call_id] += 1
            else:
                self._by_request[episode, _key(tool.name, tool.arguments)] += 1
                self._by_request[episode, _key(tool.name, None)] += tool.arguments is None

    def takes(self, cause: LlmCall | None, request: Request, episode: int) -> bool:
        """Tell whether a traced execution is the one asked for; LangChain records an only argument bare."""
        arguments = request["arguments"]
        bare = next(iter(arguments.values())) if isinstance(arguments, dict) and len(arguments) == 1 else arguments
        if cause is not None and _take(self._by_cause, (cause.span.index, request["id"])):
            return True
        if _take(self._by_id, (episode, request["id"])):
            return True
        forms = (arguments, bare, None)
        return any(_take(self._by_request, (episode, _key(request["name"], form))) for form in forms)


def _take(counted: Counter[Hashable], key: Hashable) -> bool:
    if counted[key] > 0:
        counted[key] -= 1
        return True
    return False


def _key(name: str | None, arguments: Any) -> bytes:  # noqa: ANN401 - any JSON value
    return orjson.dumps([name, arguments], option=orjson.OPT_SORT_KEYS, default=str)
