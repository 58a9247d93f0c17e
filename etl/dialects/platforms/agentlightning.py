"""Agent-lightning: AgentOps model calls with token ids beside them, and rewards as annotation spans.

https://github.com/microsoft/agent-lightning (0.1 to 0.3)
"""

from typing import Any

import orjson

from etl.dialects.shapes.json_values import decode, loads
from etl.dialects.shapes.number_lists import numbers, whole_numbers
from etl.dialects.shapes.values import any_begins, numbered, score_of, text_of
from etl.dialects.spans import LlmCall, Span

DIALECT = "agentlightning"


def is_annotation(span: Span) -> bool:
    """Tell whether the span is one of agent-lightning's own, which are never model calls."""
    if span.name.startswith("agentlightning."):
        return True
    return any_begins(span.attributes, "agentlightning.")


def add_tokens(call: LlmCall) -> None:
    """Take up token ids and log-probabilities, where the server gave them."""
    attributes = call.span.attributes
    call.prompt_token_ids = whole_numbers(attributes.get("prompt_token_ids"))
    response = decode(attributes.get("response_token_ids"))
    is_nested = isinstance(response, list) and response and isinstance(response[0], list)
    call.response_token_ids = whole_numbers(response[0] if is_nested else response)
    content = decode(attributes.get("logprobs.content"))
    if isinstance(content, list) and content:
        logprobs = [entry.get("logprob") for entry in content if isinstance(entry, dict)]
        if all(isinstance(value, int | float) for value in logprobs) and logprobs:
            call.behavior_logprobs = numbers(logprobs)


def rewards(span: Span) -> list[tuple[str, float]]:
    """Return the rewards an annotation span carries, by name; the first is the primary one."""
    attributes = span.attributes
    found: list[tuple[str, float]] = []
    for index, fields in numbered(attributes, "agentlightning.reward").items():
        value = score_of(fields, "value")
        if value is not None:
            found.append((text_of(fields, "name") or ("primary" if index == 0 else f"reward_{index}"), value))
    if not found:
        value = score_of(attributes, "reward")
        if value is None:
            value = _agentops_reward(attributes.get("agentops.task.output") or attributes.get("agentops.entity.output"))
        if value is not None:
            found.append(("primary", value))
    return found


def links(span: Span) -> dict[str, str]:
    """Return what an annotation is linked to, e.g. {"gen_ai.response.id": "chatcmpl-…"}."""
    return {
        str(fields["key_match"]): str(fields["value_match"])
        for fields in numbered(span.attributes, "agentlightning.link").values()
        if "key_match" in fields and "value_match" in fields
    }


def _agentops_reward(value: Any) -> float | None:  # noqa: ANN401
    """Read a reward of 0.1: JSON text and nothing looser, so that the receiver knows all that counts as one."""
    try:
        output = loads(value) if isinstance(value, str) else None
    except orjson.JSONDecodeError:
        return None
    return score_of(output, "value") if isinstance(output, dict) and output.get("type") == "reward" else None
