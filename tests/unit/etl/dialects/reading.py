"""Reads hand-made spans as the ETL does, and the shapes that several libraries write."""

from typing import Any

from etl.exports.export import decoded
from etl.tables import Dataset
from tests.conversation import QUESTION, dump, run
from tests.spans import Span

Row = dict[str, Any]


def calls_of(dataset: Dataset) -> list[Row]:
    """Return the model calls in the order they began."""
    return [decoded("llm_calls", row) for row in dataset.tables["llm_calls"].sort("start_ns").iter_rows(named=True)]


def tools_of(dataset: Dataset) -> list[Row]:
    """Return the tool calls in the order they began."""
    return [decoded("tool_calls", row) for row in dataset.tables["tool_calls"].sort("start_ns").iter_rows(named=True)]


def read(*spans: Span) -> list[Row]:
    """Return the model calls of a trace."""
    return calls_of(run((list(spans), [])))


def parts(role: str, *found: dict[str, Any], **rest: Any) -> str:
    """Return one message in the conventions' shape."""
    return dump([{"role": role, "parts": list(found), **rest}])


def constructed(kind: str, **kwargs: Any) -> dict[str, Any]:
    """Return a message as LangChain's serialiser writes it."""
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": kwargs}


def langchain_call(message: dict[str, Any], *asked: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the attributes openinference-instrumentation-langchain 0.1.80 gives a model call."""
    messages = asked or (constructed("HumanMessage", content=QUESTION, type="human"),)
    return {
        "openinference.span.kind": "LLM",
        "input.value": dump({"messages": [list(messages)]}),
        "output.value": dump({"generations": [[{"message": message}]], "llm_output": None, "type": "LLMResult"}),
        **more,
    }


def bare(kind: str, content: Any, **rest: Any) -> dict[str, Any]:
    """Return a message of LangChain as bare fields, without its class."""
    return {"type": kind, "content": content, "additional_kwargs": {}, "response_metadata": {}, "name": None, **rest}
