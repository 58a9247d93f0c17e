"""Rows as five products export them: agents that ask a model about the weather, call a tool, and are judged.

Eight observations make a trace: the agent, then model calls and tools in turns. Where a row is one observation, every
ninth is the score of a trace; a row of MLflow's is a trace with its assessment, one of OpenAI's a stored completion.
"""

from collections.abc import Callable
from typing import Any

import orjson

SPANS_A_TRACE = 8
WORDS = "what is the weather in the town where the train from the north stops first "
ANSWER = {"role": "assistant", "content": "Rain."}

Row = dict[str, Any]


def asked(trace: int) -> list[Row]:
    """Return the messages of a call."""
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{trace} {WORDS * 5}"}]


def kind_of(place: int) -> str:
    """Return what stands at a place of a trace."""
    return "agent" if place == 0 else "model" if place % 2 else "tool"


def text(value: object) -> str:
    """Return a value as JSON text."""
    return orjson.dumps(value).decode()


def langfuse(number: int) -> Row:
    """Return a row of the blob storage export."""
    trace, place = divmod(number, SPANS_A_TRACE + 1)
    if place == SPANS_A_TRACE:
        return {
            "id": f"score-{trace}",
            "timestamp": "2024-05-29 14:00:00.000000",
            "trace_id": f"{trace + 1:032x}",
            "observation_id": None,
            "name": "outcome",
            "value": trace % 2,
            "source": "API",
            "data_type": "NUMERIC",
            "string_value": None,
        }
    kind = {"agent": "AGENT", "model": "GENERATION", "tool": "TOOL"}[kind_of(place)]
    is_call = kind == "GENERATION"
    return {
        "id": f"{trace * SPANS_A_TRACE + place + 1:016x}",
        "trace_id": f"{trace + 1:032x}",
        "project_id": "p",
        "environment": "production",
        "type": kind,
        "parent_observation_id": f"{trace * SPANS_A_TRACE + 1:016x}" if place else "",
        "start_time": f"2024-05-29 13:{trace % 60:02}:{place:02}.963000",
        "end_time": f"2024-05-29 13:{trace % 60:02}:{place + 1:02}.463000",
        "name": kind.lower(),
        "metadata": {"topic": "weather"},
        "level": "DEFAULT",
        "input": text({"messages": asked(trace)}) if is_call else "{}",
        "output": text(ANSWER) if is_call else "",
        "provided_model_name": "gpt-4o-mini" if is_call else "",
        "model_parameters": '{"temperature":0.7}' if is_call else "",
        "usage_details": {"input": 90, "output": 3, "total": 93} if is_call else {},
        "user_id": "u1",
        "session_id": f"s{trace}",
    }


def langsmith(number: int) -> Row:
    """Return a run, or feedback, of the bulk export."""
    trace, place = divmod(number, SPANS_A_TRACE + 1)
    root = f"{trace:08x}-0000-4000-8000-000000000000"
    if place == SPANS_A_TRACE:
        return {
            "id": f"{trace:08x}-0000-4000-9000-000000000000",
            "created_at": "2024-05-29T14:00:00.000000",
            "trace_id": root,
            "run_id": root,
            "key": "outcome",
            "score": float(trace % 2),
        }
    own = f"{trace:08x}-0000-4000-8000-{place:012x}"
    kind = {"agent": "chain", "model": "llm", "tool": "tool"}[kind_of(place)]
    answered = {"choices": [{"index": 0, "message": ANSWER, "finish_reason": "stop"}]}
    told = {"thread_id": f"s{trace}"} | ({"ls_model_name": "gpt-4o-mini"} if kind == "llm" else {})
    return {
        "id": own,
        "trace_id": root,
        "name": kind,
        "run_type": kind,
        "start_time": f"2024-05-29T13:{trace % 60:02}:{place:02}.963000",
        "end_time": f"2024-05-29T13:{trace % 60:02}:{place + 1:02}.463000",
        "status": "success",
        "error": None,
        "parent_run_id": root if place else None,
        "inputs": text({"messages": asked(trace), "model": "gpt-4o-mini"} if kind == "llm" else {"city": "Oslo"}),
        "outputs": text(answered if kind == "llm" else {"output": "4"}),
        "extra": text({"metadata": told, "invocation_params": {"temperature": 0.7}}),
        "tags": [],
        "prompt_tokens": 90 if kind == "llm" else None,
        "completion_tokens": 3 if kind == "llm" else None,
    }


def phoenix(number: int) -> Row:
    """Return a row of a data frame of spans, or an annotation as the API has it."""
    trace, place = divmod(number, SPANS_A_TRACE + 1)
    first = f"{trace * SPANS_A_TRACE + 1:016x}"
    if place == SPANS_A_TRACE:
        return {
            "span_id": first,
            "name": "outcome",
            "annotator_kind": "HUMAN",
            "result": {"score": float(trace % 2), "label": None, "explanation": None},
            "created_at": "2024-05-29T14:00:00Z",
        }
    kind = {"agent": "AGENT", "model": "LLM", "tool": "TOOL"}[kind_of(place)]
    row: Row = {
        "name": kind.lower(),
        "span_kind": kind,
        "parent_id": first if place else None,
        "start_time": f"2024-05-29T13:{trace % 60:02}:{place:02}.963Z",
        "end_time": f"2024-05-29T13:{trace % 60:02}:{place + 1:02}.463Z",
        "status_code": "OK",
        "status_message": "",
        "events": [],
        "context.span_id": f"{trace * SPANS_A_TRACE + place + 1:016x}",
        "context.trace_id": f"{trace + 1:032x}",
        "attributes.openinference.span.kind": kind,
        "attributes.session.id": f"s{trace}",
    }
    if kind == "LLM":
        row |= {
            "attributes.llm.model_name": "gpt-4o-mini",
            "attributes.llm.invocation_parameters": '{"temperature": 0.7}',
            "attributes.llm.input_messages": [_message(each) for each in asked(trace)],
            "attributes.llm.output_messages": [_message(ANSWER)],
            "attributes.llm.token_count.prompt": 90,
            "attributes.llm.token_count.completion": 3,
        }
    return row


def _message(message: Row) -> Row:
    return {f"message.{key}": value for key, value in message.items()}


def mlflow(number: int) -> Row:
    """Return a trace with its spans and one assessment."""
    trace = f"{number + 1:032x}"
    start_ns = 1716990379963000000 + number * 10**10
    spans = []
    for place in range(SPANS_A_TRACE):
        kind = {"agent": "AGENT", "model": "CHAT_MODEL", "tool": "TOOL"}[kind_of(place)]
        attributes = {"mlflow.spanType": text(kind)}
        if kind == "CHAT_MODEL":
            choice = {"index": 0, "message": ANSWER, "finish_reason": "stop"}
            attributes["mlflow.spanInputs"] = text({"messages": asked(number), "model": "gpt-4o-mini"})
            attributes["mlflow.spanOutputs"] = text({"object": "chat.completion", "choices": [choice]})
        spans.append(
            {
                "trace_id": f"tr-{trace}",
                "span_id": f"{number * SPANS_A_TRACE + place + 1:016x}",
                "parent_span_id": f"{number * SPANS_A_TRACE + 1:016x}" if place else None,
                "name": kind.lower(),
                "start_time_unix_nano": start_ns + place * 10**9,
                "end_time_unix_nano": start_ns + (place + 1) * 10**9,
                "events": [],
                "status": {"code": "OK", "message": ""},
                "attributes": attributes,
                "otel_trace_id": trace,
            }
        )
    judged = {
        "assessment_name": "outcome",
        "feedback": {"value": bool(number % 2)},
        "create_time": "2024-05-29T14:00:00Z",
    }
    info = {
        "trace_id": f"tr-{trace}",
        "trace_metadata": {"mlflow.trace.session": f"s{number}"},
        "assessments": [judged],
    }
    return {"info": info, "data": {"spans": spans}}


def openai(number: int) -> Row:
    """Return a stored completion with its messages."""
    return {
        "object": "chat.completion",
        "id": f"chatcmpl-{number}",
        "model": "gpt-4o-mini-2024-07-18",
        "created": 1738960610 + number,
        "usage": {"total_tokens": 93, "completion_tokens": 3, "prompt_tokens": 90},
        "temperature": 0.7,
        "metadata": {"topic": "weather"},
        "choices": [{"index": 0, "message": ANSWER, "finish_reason": "stop"}],
        "messages": [{"id": f"chatcmpl-{number}-{place}", **each} for place, each in enumerate(asked(number))],
    }


VENDORS: dict[str, Callable[[int], Row]] = {
    "langfuse": langfuse,
    "langsmith": langsmith,
    "phoenix": phoenix,
    "mlflow": mlflow,
    "openai": openai,
}
