"""Reads by their structure the spans that no dialect made anything of; wrappers tell of the call within them."""

from collections.abc import Iterable

from etl.calls.readings import Readings
from etl.calls.tree import Forest
from etl.dialects import reading
from etl.dialects.platforms import agentops
from etl.dialects.spans import AgentSpan, Evaluation, LlmCall, Span, ToolCall
from etl.dialects.structure import around
from etl.dialects.structure import calls as structure
from etl.dialects.structure.names import Kind, kind_of, names_kind, words_of
from etl.dialects.structure.survey import survey
from etl.dialects.structure.traffic import may_tell

NEVER_CALLS = {Kind.OTHER, Kind.EMBEDDING}


def read_leftovers(readings: Readings, forest: Forest) -> None:
    """Read what values show to be a model call, a tool's execution, an agent; the innermost first.

    What has a call below it is no call of its own: a framework's step, whose request and answer are the call's. It
    tells of that call what the call's own span leaves out.
    """
    above: set[int] = set()
    around_tools: set[int] = set()
    for call in readings.calls:
        _climb(call.span.index, forest, above)
    for tool in readings.tools:
        _climb(tool.span.index, forest, around_tools)
    wrappers: list[Span] = []
    doubtful: list[LlmCall] = []
    for span in sorted(readings.leftovers, key=lambda span: -forest.enter[span.index]):
        if span.index in above:
            wrappers.append(span)
        elif not agentops.is_requested_tool(span):
            _read_leftover(readings, span, forest, above, around_tools, doubtful)
    _keep_likely(readings, doubtful)
    _complete_from_wrappers(readings.calls, wrappers, forest)


def _keep_likely(readings: Readings, doubtful: Iterable[LlmCall]) -> None:
    """Keep calls that name no model, id or count, but where the same writer has named these of others in the trace.

    There, they are steps around or beside the calls, which tell what went in and out.
    """
    told = {(call.span.project, call.span.trace_id, call.span.scope) for call in readings.calls if _names_facts(call)}
    readings.calls += [
        call for call in doubtful if (call.span.project, call.span.trace_id, call.span.scope) not in told
    ]


def _names_facts(call: LlmCall) -> bool:
    return bool(call.model_requested or call.model_returned or call.response_id or call.usage)


def _read_leftover(
    readings: Readings,
    span: Span,
    forest: Forest,
    above: set[int],
    around_tools: set[int],
    doubtful: list[LlmCall],
) -> None:
    if not _may_tell(span) or _own_kind(span) in NEVER_CALLS:
        return
    try:
        surveyed = survey(span)
        found = structure.read(span, surveyed)
    except Exception as error:  # noqa: BLE001 - whatever a stranger recorded; the other spans are still to be read
        readings.unreadable[span.index] = f"{span.scope or '(no scope)'}: {type(error).__name__}"
        return
    match found:
        case structure.Candidate(is_call=True):
            call = structure.read_call(span, found.survey)
            is_named = _names_facts(call) or found.survey.kind is Kind.CALL
            if span.index in readings.agents and not is_named:
                return  # an agent's run as likely
            is_one_answer = call.response_id is not None and call.api is not None  # its tools ran while it was open
            asks = any(message["tool_calls"] for message in call.output or ())
            if span.index in around_tools and asks and not is_one_answer:
                if span.index not in readings.agents:
                    readings.unread[span.scope or "(no scope)"] += 1  # a run: the tools it asked for ran within it
                return
            readings.agents.pop(span.index, None)
            (readings.calls if is_named else doubtful).append(call)
            _climb(span.index, forest, above)
        case ToolCall():
            readings.agents.pop(span.index, None)
            readings.tools.append(found)
            _climb(span.index, forest, around_tools)
        case AgentSpan():
            readings.agents[span.index] = found
        case Evaluation():
            readings.evaluations[span.index] = found
        case _ if span.index in readings.agents:
            return
        case structure.Candidate() if found.survey.kind is Kind.CALL or found.survey.has_exchange():
            readings.unread[span.scope or "(no scope)"] += 1
        case _ if reading.looks_like_traffic(span) or not structure.MODEL_WORK.isdisjoint(surveyed.facts):
            readings.unread[span.scope or "(no scope)"] += 1


def _may_tell(span: Span) -> bool:
    """Tell whether a span may be of model traffic, by the names of its attributes or their values' first characters."""
    if span.events or span.logs:
        return True
    return any(
        may_tell(name)
        or isinstance(value, dict)
        or (isinstance(value, str) and len(value) > LONGEST_KIND and value.startswith(("{", "[")))
        for name, value in span.attributes.items()
    )


def _own_kind(span: Span) -> Kind | None:
    """Return the kind a span names, by its attributes' short texts alone."""
    kinds = [
        kind
        for name, value in span.attributes.items()
        if isinstance(value, str)
        and len(value) < LONGEST_KIND
        and names_kind(words_of(name))
        and (kind := kind_of(value))
    ]
    return kinds[0] if len(set(kinds)) == 1 else None


LONGEST_KIND = 64
"""Characters of the name of a kind."""


def _climb(row: int, forest: Forest, above: set[int]) -> None:
    """Add the spans above a row to those that have calls below them."""
    for upper in forest.ancestors(row):
        if upper in above:
            break
        above.add(upper)


def _complete_from_wrappers(calls: list[LlmCall], wrappers: Iterable[Span], forest: Forest) -> None:
    """Complete calls from the spans around each that are around no other call, the nearest first, in place."""
    outermost: dict[int, LlmCall] = {}
    end = -1
    for call in sorted(calls, key=lambda call: forest.enter[call.span.index]):
        enter = forest.enter[call.span.index]
        if enter >= end:
            end = forest.leave[call.span.index]
            outermost[call.span.index] = call
    only: dict[int, list[LlmCall]] = {}
    for row, call in outermost.items():
        for upper in forest.ancestors(row):
            own = only.setdefault(upper, [])
            own.append(call)
            if len(own) > 1 + 1:  # those further up have as many
                break
    for span in wrappers:
        own = only.get(span.index, [])
        if len(own) == 1 and structure.lacks(own[0]):
            around.complete_from_around(own[0], span, survey(span))
