"""LlamaIndex's agent workflows, as OpenInference records them: the agent of a step, and what the step's answer was.

A step's event is recorded as Python's repr. The one that follows a model call holds the client's whole response, of
which the call's own span has the message alone.

https://github.com/run-llama/llama_index, `llama_index.core.agent.workflow`
"""

import re
from typing import Any

from etl.dialects.shapes import client_dump, exchanges
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.reprs import read_repr
from etl.dialects.shapes.values import text_of
from etl.dialects.spans import AgentSpan, AnswerFact, Span, ToolCall

SCOPE = ".llama_index"

AGENT = re.compile(r"""current_agent_name='([^']+)'\)"\}$""")
"""The last field of the event that starts a model call; anything before it may be a user's words."""

MEMBER = re.compile(r"<\w+\.\w+: ('\w*')>")
"""The repr of an enumeration's member, which is no Python: `<MessageRole.USER: 'user'>`."""


def read_step(span: Span, dialect: str) -> list[ToolCall | AgentSpan | AnswerFact] | None:
    """Read a step of an agent's workflow: the one around a model call, or the one that is given its answer."""
    step = span.name.rpartition(".")[2]
    recorded = str(span.attributes.get("input.value"))
    if step == "run_agent_step":
        match = AGENT.search(recorded)
        return [AgentSpan(span, dialect, match.group(1))] if match is not None else None
    if step == "parse_agent_output":
        fact = _answer(decode(recorded))
        return [fact] if fact is not None else None
    return None


def _answer(given: Any) -> AnswerFact | None:  # noqa: ANN401 - any JSON value
    """Return what the event `AgentOutput` tells of the answer; a stream's holds the last of its chunks."""
    event = read_repr(MEMBER.sub(r"\1", text_of(given, "ev") or "")) if isinstance(given, dict) else None
    if not isinstance(event, dict) or not isinstance(event.get("raw"), dict):
        return None
    raw = event["raw"]
    is_last_chunk = isinstance(raw.get("response"), dict)
    response = client_dump.read_response(raw["response"] if is_last_chunk else raw)
    if response is None:
        return None
    message = event.get("response")
    blocks = message.get("blocks") if isinstance(message, dict) else None
    text = "".join(block.get("text") or "" for block in blocks or () if isinstance(block, dict))
    requests = [{"id": item.get("tool_id")} for item in event.get("tool_calls") or () if isinstance(item, dict)]
    return AnswerFact(
        response.response_id,
        exchanges.answer_signature({"role": "assistant", "text": text, "tool_calls": requests}),
        text or None,
        response.output[0]["finish_reason"] if response.output else None,
        response.model,
        response.usage,
        True if is_last_chunk or raw.get("object") == "chat.completion.chunk" else None,
    )
