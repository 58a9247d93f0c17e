"""Spans that nobody described are read by the shape of their values, and never as anything else."""

import json
from typing import Any

import pytest

from tests.recordings import run
from tests.spans import logs_frame, span, spans_frame

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 12*7?"}]
REQUEST = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "calculator", "arguments": '{"expression": "12*7"}'},
}
ANSWER = {"role": "assistant", "content": None, "tool_calls": [REQUEST]}
COMPLETION = {
    "id": "chatcmpl-1",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": ANSWER, "finish_reason": "tool_calls"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 9},
}
SAID = {"id": "call_1", "name": "calculator", "arguments": {"expression": "12*7"}}
USED = {"name": "calculator", "input": {"expression": "12*7"}}


def calls_of(*spans: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the calls read from spans."""
    tables = run(spans_frame([*spans]), logs_frame()).tables
    return [
        {**row, "input": json.loads(row["input"] or "null"), "output": json.loads(row["output"] or "null")}
        for row in tables["llm_calls"].sort("start_ns").to_dicts()
    ]


FORMS: dict[str, dict[str, Any]] = {
    "whole bodies": {
        "acme.request": json.dumps({"model": "gpt-4o-mini", "messages": ASKED}),
        "acme.response": json.dumps(COMPLETION),
    },
    "a list around the completion": {
        "x:input": json.dumps({"messages": ASKED, "model": "gpt-4o-mini"}),
        "x:output": json.dumps([json.dumps(COMPLETION)]),
    },
    "pieces of the answer": {
        "my.prompt": json.dumps(ASKED),
        "my.response.text": '[""]',
        "my.response.toolCalls": json.dumps([REQUEST]),
        "my.response.finishReason": "tool_calls",
        "my.request.modelId": "gpt-4o-mini",
    },
    "numbered": {
        "gw.type": "llm",
        "gw.model": "gpt-4o-mini",
        "gw.prompt.0.role": "system",
        "gw.prompt.0.content": "Be brief.",
        "gw.prompt.1.role": "user",
        "gw.prompt.1.content": "What is 12*7?",
        "gw.completion.0.role": "assistant",
        "gw.completion.0.finish_reason": "tool_calls",
        "gw.completion.0.tool_calls.0.id": "call_1",
        "gw.completion.0.tool_calls.0.name": "calculator",
        "gw.completion.0.tool_calls.0.arguments": '{"expression": "12*7"}',
    },
    "content blocks that Bedrock names": {
        "b.request": json.dumps(
            {
                "modelId": "gpt-4o-mini",
                "system": [{"text": "Be brief."}],
                "messages": [{"role": "user", "content": [{"text": "What is 12*7?"}]}],
            }
        ),
        "b.response": json.dumps(
            {
                "output": {"message": {"role": "assistant", "content": [{"toolUse": {"toolUseId": "call_1", **USED}}]}},
                "stopReason": "tool_calls",
            }
        ),
    },
    "words of .NET": {
        "chat.request": json.dumps(
            {
                "Messages": [
                    {"Role": "system", "Contents": [{"$type": "text", "Text": "Be brief."}]},
                    {"Role": "user", "Contents": [{"$type": "text", "Text": "What is 12*7?"}]},
                ],
                "Options": {"ModelId": "gpt-4o-mini"},
            }
        ),
        "chat.response": json.dumps(
            {
                "Messages": [
                    {
                        "Role": "assistant",
                        "Contents": [
                            {
                                "$type": "functionCall",
                                "CallId": "call_1",
                                "Name": "calculator",
                                "Arguments": USED["input"],
                            }
                        ],
                    }
                ],
                "FinishReason": "tool_calls",
                "Usage": {"InputTokenCount": 20, "OutputTokenCount": 9},
            }
        ),
    },
    "one payload": {"app.record": json.dumps({"model": "gpt-4o-mini", "input": ASKED, "output": COMPLETION})},
}


@pytest.mark.parametrize("attributes", FORMS.values(), ids=FORMS)
def test_a_call_is_read_under_whatever_names(attributes: dict[str, Any]) -> None:
    """Question, answer, model asked for and the reason come out of each of these, which no dialect knows."""
    (call,) = calls_of(span("whatever", attributes=attributes, scope="brand.new"))

    assert [(message["role"], message["text"]) for message in call["input"]] == [
        ("system", "Be brief."),
        ("user", "What is 12*7?"),
    ]
    (answer,) = call["output"]
    assert (answer["tool_calls"], answer["finish_reason"]) == ([SAID], "tool_calls")
    assert call["model_requested"] == "gpt-4o-mini"


def test_what_surrounds_a_call_is_no_call() -> None:
    """A step with the same question and answer tells of the call in it, and an agent's run is not one."""
    body = {"acme.request": json.dumps({"messages": ASKED}), "acme.response": json.dumps(COMPLETION)}
    spans = [
        span("run", end=9, attributes={"acme.kind": "agent", "acme.input": "hi", "acme.output": "ho"}),
        span("step", parent="run", start=1, end=8, attributes={"acme.kind": "model_step", **body}),
        span("call", parent="step", start=2, end=7, attributes={"acme.kind": "llm", "acme.model": "m", **body}),
    ]

    assert len(calls_of(*spans)) == 1


def test_a_tool_is_read_out_of_its_decorators_box() -> None:
    """Arguments and result come without what was put around them."""
    attributes = {
        "acme.span.type": "TOOL",
        "acme.input": '{"args": [], "kwargs": {"expression": "12*7"}}',
        "acme.output": '"84"',
    }

    tables = run(spans_frame([span("calculator", attributes=attributes)]), logs_frame()).tables

    (tool,) = tables["tool_calls"].to_dicts()
    assert (tool["name"], json.loads(tool["arguments"]), tool["result"]) == ("calculator", {"expression": "12*7"}, "84")


def test_an_ordinary_span_is_none_of_them() -> None:
    """A database's statement, a web request and a job with an input and an output are nobody's model calls."""
    ordinary = [
        {"db.system": "sqlite", "db.statement": 'select "input" from t where model = 1'},
        {"http.request.method": "POST", "http.response.status_code": 200, "url.path": "/v1/messages"},
        {"job.input": "a.csv", "job.output": "b.csv"},
    ]

    tables = run(spans_frame([span(f"s{n}", attributes=a) for n, a in enumerate(ordinary)]), logs_frame()).tables

    assert (tables["llm_calls"].height, tables["tool_calls"].height) == (0, 0)


INCOMPLETE = {
    "values_cut": {"acme.request": '{"messages": [{"role": "user", "content": "What is', "acme.response": COMPLETION},
    "result_without_call": {
        "acme.request": {"messages": [*ASKED, {"role": "tool", "tool_call_id": "call_9", "content": "84"}]},
        "acme.response": COMPLETION,
    },
    "tool_call_missing": {
        "acme.request": {"messages": ASKED},
        "acme.response": {"choices": [{"message": {"content": "Let me see."}, "finish_reason": "tool_calls"}]},
    },
    "not_understood": {
        "acme.request": {"messages": [*ASKED, {"role": "user", "content": [{"type": "hologram", "payload": "?"}]}]},
        "acme.response": COMPLETION,
    },
}


@pytest.mark.parametrize(("reason", "bodies"), INCOMPLETE.items(), ids=INCOMPLETE)
def test_what_is_not_whole_is_rejected(reason: str, bodies: dict[str, Any]) -> None:
    """The reason says what of the exchange is cut, missing or not understood; the call stays."""
    attributes = {name: body if isinstance(body, str) else json.dumps(body) for name, body in bodies.items()}

    tables = run(spans_frame([span("c", attributes={"acme.type": "llm", **attributes})]), logs_frame()).tables

    assert (tables["transitions"].height, tables["llm_calls"].height) == (0, 1)
    assert tables["rejected"]["reason"].to_list() in ([reason], ["no_observation"])


@pytest.mark.parametrize(
    ("operation", "asked"), [("text_completion", [{"role": "user", "text": "2+2="}]), ("chat", None)]
)
def test_a_text_is_all_that_a_completion_was_asked(operation: str, asked: list[dict[str, Any]] | None) -> None:
    """A chat's may be one message of several."""
    fields = {"gen_ai.operation.name": operation, "gen_ai.request.model": "m", "gen_ai.prompt": "2+2="}

    [call] = calls_of(span("call", attributes={**fields, "gen_ai.completion": "4"}))

    assert call["input"] == asked
    assert [message["text"] for message in call["output"]] == ["4"]


@pytest.mark.parametrize(("facts", "is_whole"), [({}, False), ({"acme.finish_reason": "stop"}, True)])
def test_words_alone_are_no_whole_answer_where_tools_were_offered(facts: dict[str, Any], is_whole: bool) -> None:
    """A recorder that keeps a stream's words drops its calls of tools; a reason says that there were none."""
    offered = [{"type": "function", "function": {"name": "calculator", "parameters": {"type": "object"}}}]
    request = json.dumps({"model": "m", "messages": ASKED, "tools": offered, "stream": True})
    said = {"acme.kind": "llm", "acme.request": request, "acme.completion": "Let me see.", "acme.output_tokens": 9}

    tables = run(spans_frame([span("call", attributes=said | facts)]), logs_frame()).tables

    assert json.loads(tables["llm_calls"]["output"][0])[0]["text"] == "Let me see."
    assert tables["transitions"].height == is_whole


def test_reasoning_that_ran_out_of_tokens_is_an_answer() -> None:
    """A model that was cut while it thought said something: its reasoning is what it did, and why it ended is known."""
    thought = {"role": "assistant", "content": None, "reasoning_content": "12*7 is 10*7 and"}
    body = {"id": "chatcmpl-1", "choices": [{"index": 0, "message": thought, "finish_reason": "length"}]}
    request = json.dumps({"model": "m", "messages": ASKED})

    [call] = calls_of(span("c", attributes={"acme.request": request, "acme.response": json.dumps(body)}))

    assert [(message["reasoning"], message["finish_reason"]) for message in call["output"]] == [
        ("12*7 is 10*7 and", "length")
    ]


@pytest.mark.parametrize(
    ("asked", "num_transitions"),
    [
        pytest.param(ASKED[1:], 0, id="instructions may have stood beside"),
        pytest.param(ASKED, 1, id="instructions are there"),
        pytest.param({"model": "m", "messages": ASKED[1:]}, 1, id="a body had none"),
    ],
)
def test_a_list_of_messages_is_no_whole_request_where_attributes_were_dropped(asked: Any, num_transitions: int) -> None:
    """One value holds all messages, but instructions may have been an attribute that the SDK dropped."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": json.dumps(asked),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "84"}]}]),
    }

    cut = {**span("c", attributes=attributes), "dropped_attributes_count": 3}

    assert run(spans_frame([cut]), logs_frame()).tables["transitions"].height == num_transitions


def test_a_place_left_empty_is_no_loss_where_one_value_holds_all_messages() -> None:
    """As OpenInference begins to count after the instructions, of which there are none; the SDK dropped nothing."""
    attributes = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "m",
        "input.mime_type": "application/json",
        "input.value": json.dumps([{"role": "user", "content": "12*7?"}]),
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.content": "12*7?",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "84",
    }

    found = [
        run(spans_frame([{**span("c", attributes=attributes), "dropped_attributes_count": number}]), logs_frame())
        for number in (0, 3)
    ]

    assert [each.tables["transitions"].height for each in found] == [1, 0]


def test_a_request_may_end_in_the_beginning_of_its_answer() -> None:
    """A body that names its model was sent as it is; a state without one that ends in an answer is a run's."""
    begun = [*ASKED, {"role": "assistant", "content": '{"sum":'}]
    body = {"id": "chatcmpl-1", "choices": [{"index": 0, "message": {"role": "assistant", "content": " 84}"}}]}

    found = [
        calls_of(span("c", attributes={"acme.request": json.dumps(request), "acme.response": json.dumps(body)}))
        for request in ({"model": "m", "messages": begun}, {"messages": begun})
    ]

    assert [[message["role"] for message in call["input"]] for calls in found for call in calls] == [
        ["system", "user", "assistant"]
    ]


def test_a_call_whose_tools_ran_within_it_is_one_call() -> None:
    """A tool may be the child of the call that asked for it; only what has no answer of its own is a run."""
    request = json.dumps({"model": "m", "messages": ASKED})
    inner = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "calculator", "gen_ai.tool.call.id": "call_1"}

    calls = calls_of(
        span("c", end=5, attributes={"acme.request": request, "acme.response": json.dumps(COMPLETION)}),
        span("x", parent="c", start=2, end=3, attributes=inner),
    )

    assert [[one["name"] for one in call["output"][0]["tool_calls"]] for call in calls] == [["calculator"]]


def test_instructions_that_are_an_object_are_no_answer() -> None:
    """Gemini's requests have them in parts, as its answers are; what was answered stands among the candidates."""
    request = {
        "model": "gemini-3",
        "contents": [{"role": "user", "parts": [{"text": "What is 12*7?"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
    }
    answered = {"candidates": [{"content": {"role": "model", "parts": [{"text": "84"}]}, "finishReason": "STOP"}]}

    [call] = calls_of(
        span("c", attributes={"acme.request": json.dumps(request), "acme.response": json.dumps(answered)})
    )

    assert [message["text"] for message in (*call["input"], *call["output"])] == ["Be brief.", "What is 12*7?", "84"]
