"""Automatic intermediate rewards: every signal measured, the weighted ones turned into rewards."""

from collections.abc import Iterable, Mapping, Sequence

from etl.dialects.spans import LlmCall, ToolCall
from etl.rewards.signals.argument_schema import argument_schema
from etl.rewards.signals.budget import latency, tokens
from etl.rewards.signals.output_format import output_format
from etl.rewards.signals.repetition import repetition
from etl.rewards.signals.retry import retry
from etl.rewards.signals.tool_status import tool_status
from etl.rewards.signals.user_reply import Judge, user_reply
from etl.rewards.signals.waste import waste
from etl.settings import EtlConfig

SIGNALS = (
    "tool_status",
    "argument_schema",
    "output_format",
    "repetition",
    "retry",
    "waste",
    "user_reply",
    "latency",
    "tokens",
    "progress",
)
"""Every signal has a column `reward_<name>` in `transitions`, and its bare measure in the column `signals`."""

Measures = dict[str, dict[int, float]]
"""What was measured, by signal and call row: 0 where nothing is to be said of a call, below 0 what is against it."""


def measure(
    episodes: Sequence[Sequence[LlmCall]],
    causes: Sequence[tuple[ToolCall, LlmCall | None]],
    dialogues: Iterable[Sequence[LlmCall]],
    config: EtlConfig,
    judge: Judge | None,
) -> Measures:
    """Measure every signal of all episodes' calls in the order they began, but progress, which takes a whole run.

    `dialogues` are the calls of whole sessions, and of episodes without one; `judge` is asked what users' replies mean.
    """
    found: Measures = {name: {} for name in SIGNALS}
    found["tool_status"] = {row: value for row, value in tool_status(causes, -1.0).items() if value is not None}
    used = {call.span.index for _, call in causes if call is not None}
    for calls in episodes:
        found["argument_schema"] |= argument_schema(calls)
        found["output_format"] |= output_format(calls)
        found["repetition"] |= repetition(calls)
        found["retry"] |= retry(calls, used)
        found["waste"] |= waste(calls, used)
        found["latency"] |= latency(calls, config.latency_budget_s)
        found["tokens"] |= tokens(calls, config.token_budget)
    found["user_reply"] = user_reply(dialogues, judge)
    return found


def of_answer(call: LlmCall) -> dict[str, float]:
    """Measure the signals that an answer alone tells, without what came before or after it."""
    found: Measures = {"argument_schema": argument_schema([call]), "output_format": output_format([call])}
    return measures_of(found, call.span.index)


def weights(config: EtlConfig) -> dict[str, float]:
    """Return what every signal that is switched on counts; weight 0 switches all but `tool_status` off."""
    known: dict[str, float] = {name: getattr(config, name) for name in SIGNALS if name != "tool_status"}
    return {"tool_status": -config.tool_error, **{name: weight for name, weight in known.items() if weight}}


def measures_of(found: Measures, row: int) -> dict[str, float]:
    """Return everything measured of one call."""
    return {name: values[row] for name, values in found.items() if row in values}


def weighted(measured: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """Return the reward of one call by signal, of those that were measured and are switched on."""
    return {name: weights[name] * value + 0.0 for name, value in measured.items() if name in weights}
