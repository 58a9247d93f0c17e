"""AIR: the action whose tool call ended in an error."""

from collections.abc import Iterable

from etl.calls.completing.untraced_tools import DIALECT as UNTRACED
from etl.dialects.spans import LlmCall, ToolCall


def tool_status(causes: Iterable[tuple[ToolCall, LlmCall | None]], penalty: float) -> dict[int, float | None]:
    """Return the reward by call row: `penalty` for each failed tool call, 0 where all went well.

    A call that caused no tool call has no entry: there was nothing to measure. Nor has one whose tools only messages
    tell of, unless these say that a tool failed: that they do not is no proof that it went well.
    """
    rewards: dict[int, float | None] = {}
    for tool, call in causes:
        if call is not None and (tool.dialect != UNTRACED or tool.error is not None):
            row = call.span.index
            rewards[row] = (rewards.get(row) or 0.0) + (penalty if tool.error is not None else 0.0)
    return rewards
