"""Automatic intermediate rewards: every signal measured, the weighted ones turned into rewards."""

from collections import defaultdict
from collections.abc import Sequence
from math import log1p

from etl.dialects.spans import LlmCall, ToolCall
from etl.rewards.argument_schema import argument_schema
from etl.rewards.budget import latency, tokens
from etl.rewards.output_format import output_format
from etl.rewards.progress import Course, progress
from etl.rewards.repetition import repetition
from etl.rewards.retry import retry
from etl.rewards.tool_status import tool_status
from etl.rewards.waste import waste
from etl.settings import EtlConfig

SIGNALS = (
    "tool_status",
    "argument_schema",
    "output_format",
    "repetition",
    "retry",
    "waste",
    "latency",
    "tokens",
    "progress",
)
"""Every signal has a column `reward_<name>` in `transitions`, and its bare measure in the column `signals`."""

Measures = dict[str, dict[int, float]]
"""What was measured, by signal and call row: 0 where nothing is to be said against a call, below 0 where there is."""


def measure(
    episodes: Sequence[Sequence[LlmCall]], causes: Sequence[tuple[ToolCall, LlmCall | None]], config: EtlConfig
) -> Measures:
    """Measure every signal but progress, of all episodes' calls in the order they began."""
    found: Measures = {name: {} for name in SIGNALS}
    found["tool_status"] = {row: value for row, value in tool_status(causes, -1.0).items() if value is not None}
    used = {call.span.index for _, call in causes if call is not None}
    for calls in episodes:
        found["argument_schema"] |= argument_schema(calls)
        found["output_format"] |= output_format(calls)
        found["repetition"] |= repetition(calls)
        found["retry"] |= retry(calls)
        found["waste"] |= waste(calls, used)
        found["latency"] |= latency(calls, config.latency_budget_s)
        found["tokens"] |= tokens(calls, config.token_budget)
    return found


def add_progress(
    found: Measures,
    episodes: Sequence[Sequence[LlmCall]],
    task_ids: Sequence[str],
    outcomes: Sequence[float | None],
    discount: float,
) -> None:
    """Measure progress, in place, from the other signals so far."""
    courses = [
        Course(task_id, _states(calls, found), outcome)
        for calls, task_id, outcome in zip(episodes, task_ids, outcomes, strict=True)
    ]
    steps = progress(courses, discount)
    for calls, values in zip(episodes, steps or (), strict=steps is not None):
        found["progress"].update(zip((call.span.index for call in calls), values, strict=True))


def _states(calls: Sequence[LlmCall], found: Measures) -> list[list[float]]:
    """Return what was known before each call: the counts so far and how long the conversation is."""
    so_far: dict[str, float] = defaultdict(float)
    states: list[list[float]] = []
    for step, call in enumerate(calls):
        length = sum(len(message.get("text") or "") for message in call.input or ())
        counts = [so_far[name] for name in ("tool_status", "argument_schema", "repetition")]
        states.append([float(step), log1p(length), *counts])
        for name in ("tool_status", "argument_schema", "repetition"):
            so_far[name] += found[name].get(call.span.index, 0.0)
    return states


def weighted(found: Measures, row: int, config: EtlConfig) -> dict[str, float | None]:
    """Return the reward of one call by signal: null where it was not measured, or is switched off by weight 0."""
    rewards: dict[str, float | None] = {}
    for name in SIGNALS:
        weight = -config.tool_error if name == "tool_status" else getattr(config, name)
        value = found[name].get(row)
        rewards[name] = None if value is None or (not weight and name != "tool_status") else weight * value + 0.0
    return rewards


def measures_of(found: Measures, row: int) -> dict[str, float]:
    """Return everything measured of one call."""
    return {name: values[row] for name, values in found.items() if row in values}
