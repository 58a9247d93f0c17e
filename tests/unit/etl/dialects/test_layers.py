"""One call that a framework and a client beneath it both saw."""

from typing import Any

from tests.conversation import ANSWER, QUESTION, REQUEST, dump
from tests.spans import span
from tests.unit.etl.dialects.reading import Row, read


def two_layers(outer: dict[str, Any], inner: dict[str, Any], *, apart: float = 0, status: str = "unset") -> list[Row]:
    """Return what is read of a framework's span and a client's beside it, beginning `apart` seconds after it."""
    start, end = (4 + apart, 6 + apart) if apart else (2, 3)
    failure = (
        {"status": status, "message": "Error code: 429 - {'error': {'message': 'Slow.'}}"} if status == "error" else {}
    )
    fields = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    asked = {"gen_ai.input.messages": dump([{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}])}
    return read(
        span("root", end=30),
        span(
            "outer",
            parent="root",
            attributes={**fields, **asked, **outer},
            scope="framework",
            start=1,
            end=4,
            **failure,
        ),
        span(
            "inner",
            parent="root",
            attributes={**fields, **asked, **inner},
            scope="client",
            start=start,
            end=end,
            **failure,
        ),
    )


def answer_of(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return the attribute of an answer."""
    return {"gen_ai.output.messages": dump([{"role": "assistant", "parts": list(parts)}])}


def test_a_failed_call_seen_by_framework_and_client_is_one() -> None:
    """OpenInference over LangChain and OpenAI's client: siblings, both with the question, neither with an id."""
    (call,) = two_layers({}, {}, status="error")

    assert (call["error"]["http_status"], call["error"]["message"]) == (429, "Slow.")


def test_a_lazy_streams_two_spans_are_one_call() -> None:
    """OpenInference over LlamaIndex and OpenAI's client: its span is over before anybody reads the stream."""
    said = {**answer_of({"type": "text", "content": ANSWER}), "gen_ai.request.stream": True}

    assert len(two_layers(said, {**said, "gen_ai.response.id": "chatcmpl-1"}, apart=0.5)) == 1
    assert len(two_layers(said, {**said, "gen_ai.response.id": "chatcmpl-1"}, apart=9)) == 2, "long after: asked again"


def test_an_item_id_does_not_part_two_layers() -> None:
    """Traceloop 0.62.4 over LangChain and OpenAI's Responses API: one names the call, the other the item."""
    asking = {"type": "tool_call", **REQUEST}

    calls = two_layers(answer_of(asking), {**answer_of({**asking, "id": "fc_1"}), "gen_ai.response.id": "resp_1"})

    assert [call["response_id"] for call in calls] == ["resp_1"]
