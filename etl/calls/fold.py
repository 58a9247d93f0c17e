"""One call of the spans of one call, field by field, each from its most exact source."""

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from etl.calls.likeness import is_gateway
from etl.calls.tree import Forest
from etl.dialects.conventions import anthropic_client
from etl.dialects.spans import LlmCall

IDENTITY = {
    "span",
    "dialect",
    "agent",
    "conversation_id",
    "params",
    "truncated",
    "merged",
    "error",
    "usage",
    "finish_reasons",
    "told",
    "pieced",
    "incomplete",
}
"""Fields that do not simply come from the most exact source."""


def fold_calls(group: list[LlmCall], forest: Forest) -> LlmCall:
    """Return one call of several renditions: it stands where the fullest of them stands that is not the gateway's."""
    if len(group) == 1:
        return group[0]
    primary = min(
        group, key=lambda call: (is_gateway(call), -_content(call), forest.enter[call.span.index], call.span.index)
    )
    rest = sorted((call for call in group if call is not primary), key=lambda call: (-_content(call), call.span.index))
    by_exactness = sorted([primary, *rest], key=lambda call: not is_gateway(call))
    folded = replace(primary)
    for name in (entry.name for entry in fields(LlmCall)):
        if name not in IDENTITY:
            setattr(folded, name, _first(getattr(call, name) for call in by_exactness))
    folded.incomplete = set()
    for name in ("input", "output"):
        source = _fullest(by_exactness, name)
        if name == "input" and _is_prompted(by_exactness[0]):
            source = by_exactness[0]
        setattr(folded, name, getattr(source, name))
        folded.incomplete |= source.incomplete
    folded.agent = _first(call.agent for call in [primary, *rest])
    folded.conversation_id = _first(call.conversation_id for call in [primary, *rest])
    folded.error = _first(call.error for call in [primary, *rest]) if folded.output is None else primary.error
    folded.finish_reasons = next((call.finish_reasons for call in by_exactness if call.finish_reasons), [])
    by_count = sorted(by_exactness, key=lambda call: (not is_gateway(call), call.dialect != anthropic_client.DIALECT))
    folded.usage = _fold_usage(call.usage for call in by_count)
    folded.params = {key: value for call in reversed(by_exactness) for key, value in call.params.items()}
    folded.told = [fact for call in group for fact in call.told]
    folded.pieced = {
        name
        for name in set().union(*(call.pieced for call in group))
        if all(name in call.pieced or getattr(call, name) is None for call in group)
    }
    folded.truncated = all(call.truncated for call in group)
    folded.merged = [span for call in rest for span in [call.span, *call.merged]] + primary.merged
    return folded


def _is_prompted(call: LlmCall) -> bool:
    """Tell whether the gateway put another prompt in the place of what the agent's own layers saw."""
    return is_gateway(call) and call.prompt_version not in (None, "0") and call.input is not None


def _fullest(by_exactness: list[LlmCall], name: str) -> LlmCall:
    """Return the layer whose messages are the fullest, equally full ones in order of exactness.

    One that is known to be incomplete gives way to a whole one with as many messages.
    """
    fullest = max(by_exactness, key=lambda call: _facts(getattr(call, name)))
    whole = [call for call in by_exactness if not call.incomplete and getattr(call, name) is not None]
    best = max(whole, key=lambda call: _facts(getattr(call, name)), default=fullest)
    return best if len(getattr(best, name) or ()) >= len(getattr(fullest, name) or ()) else fullest


def _fold_usage(usages: Iterable[dict[str, int | None] | None]) -> dict[str, int | None] | None:
    """Take each count from the first layer that has it."""
    known = [usage for usage in usages if usage is not None]
    return {key: _first(usage[key] for usage in known) for key in known[0]} if known else None


def _first(values: Iterable[Any]) -> Any:  # noqa: ANN401 - fields of any type
    return next((value for value in values if value is not None), None)


def _facts(value: Any) -> int:  # noqa: ANN401 - any JSON value
    """Count what a recording says: every value that is there, tool calls down to their ids."""
    if isinstance(value, dict):
        return sum(_facts(item) for item in value.values())
    if isinstance(value, list):
        return sum(_facts(item) for item in value)
    return int(value is not None)


def _content(call: LlmCall) -> int:
    """How much of the exchange a span holds."""
    messages = [*(call.input or ()), *(call.output or ())]
    return _facts(messages) + 2 * len(call.tools or ()) + 3 * (call.output is not None) + (call.response_id is not None)
