"""Says which agent a model call or tool call belongs to: its own word for it, else the nearest agent span above."""

from etl.calls import Readings
from etl.dialects.spans import AgentSpan, LlmCall
from etl.tree import NO_PARENT, Forest


class Surroundings:
    """Nearest marked span above any row; walks are remembered, so all rows together cost one pass."""

    def __init__(self, forest: Forest, marked: set[int]) -> None:
        self._forest = forest
        self._marked = marked
        self._known: dict[int, int] = {}

    def nearest(self, row: int) -> int:
        """Return the row of the nearest marked proper ancestor, or `NO_PARENT`."""
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
    rows: dict[int, int] = {}
    for call in calls:
        row = named.nearest(call.span.index)
        rows[call.span.index] = row
        if row == NO_PARENT:
            continue
        agent: AgentSpan = readings.agents[row]
        call.agent = call.agent or agent.name
        if call.tools is None and agent.tools is not None:
            call.tools = agent.tools
            if all(tool["parameters"] is None for tool in agent.tools):
                call.pieced.add("tools")
        _add_instructions(call, agent)
    return rows


def _add_instructions(call: LlmCall, agent: AgentSpan) -> None:
    """Put the instructions that only the agent's span has before the messages of its calls."""
    if agent.system is None or agent.dialect != call.dialect or call.input is None:
        return
    if not any(message["role"] == "system" for message in call.input):
        call.input = [{"role": "system", "text": agent.system}, *call.input]
