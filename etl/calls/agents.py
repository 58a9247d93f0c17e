"""Says which agent a model call or tool call belongs to: its own word for it, else the nearest agent span above."""

from etl.calls.readings import Readings
from etl.calls.tree import NO_PARENT, Forest
from etl.dialects.shapes.wording import restore_wording
from etl.dialects.spans import AgentSpan, LlmCall


class Surroundings:
    """Nearest marked span above any row; walks are remembered, so all rows together cost one pass."""

    def __init__(self, forest: Forest, marked: set[int]) -> None:
        self._forest = forest
        self._marked = marked
        self._known: dict[int, int] = {}

    def nearest(self, row: int) -> int:
        """Return the row of the nearest marked proper ancestor, or `NO_PARENT`."""
        if not self._marked:
            return NO_PARENT
        walk: list[int] = []
        current = self._forest.parent[row]
        while current != NO_PARENT and current not in self._marked and current not in self._known:
            walk.append(current)
            current = self._forest.parent[current]
        found = current if current == NO_PARENT or current in self._marked else self._known[current]
        for visited in walk:
            self._known[visited] = found
        return found


def name_agents(calls: list[LlmCall], readings: Readings, forest: Forest) -> dict[int, int]:
    """Fill in the agent of every call that does not name its own, and return the agent span's row by call row."""
    named = Surroundings(forest, {row for row, agent in readings.agents.items() if agent.name})
    offering = Surroundings(forest, {row for row, agent in readings.agents.items() if agent.tools})
    instructions = {(*_trace(agent), agent.name): agent.system for agent in readings.agents.values() if agent.system}
    rows: dict[int, int] = {}
    for call in calls:
        row = _nearest(named, call)
        rows[call.span.index] = row
        offer = readings.agents.get(_nearest(offering, call))
        _add_tools(call, offer, readings.agents.get(row))
        call.streamed = offer.streamed if call.streamed is None and offer is not None else call.streamed
        if row == NO_PARENT:
            continue
        agent = readings.agents[row]
        call.agent = call.agent or agent.name
        if agent.dialect == call.dialect:
            call.params = {**agent.params, **call.params}
            restore_wording(call)
        _add_instructions(call, agent, agent.system or instructions.get((*_trace(agent), agent.name)))
    return rows


def _nearest(marked: Surroundings, call: LlmCall) -> int:
    """Return the marked row nearest above a call: a client's span may have lost the parent that the framework's has."""
    found = (marked.nearest(span.index) for span in (call.span, *call.merged))
    return next((row for row in found if row != NO_PARENT), NO_PARENT)


def _trace(agent: AgentSpan) -> tuple[str, str]:
    return agent.span.project, agent.span.trace_id


def _add_tools(call: LlmCall, offer: AgentSpan | None, agent: AgentSpan | None) -> None:
    """Give a call the tools that the nearest span offers, as the agent's span describes them if that span does not."""
    if call.tools is not None or offer is None or offer.tools is None:
        return
    described = {tool["name"]: tool for tool in (agent.tools if agent is not None else None) or ()}
    call.tools = [described.get(tool["name"], tool) for tool in offer.tools]
    if any(tool["parameters"] is None for tool in call.tools):
        call.pieced.add("tools")


def _add_instructions(call: LlmCall, agent: AgentSpan, system: str | None) -> None:
    """Put the instructions that only the agent's span has before the messages of its calls."""
    if system is None or agent.dialect != call.dialect:
        return
    if call.input is None:
        call.input = [{"role": "system", "text": system}]
        call.pieced.add("input")
    elif not any(message["role"] == "system" for message in call.input):
        call.input = [{"role": "system", "text": system}, *call.input]
