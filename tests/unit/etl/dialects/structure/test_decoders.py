"""Shapes of traffic are known by what they hold; what only resembles one is left alone."""

from typing import Any

import pytest

from etl.dialects.shapes.messages.canonical import UNREAD
from etl.dialects.structure import decoders

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ({"toolCalls": [{"toolName": "x"}]}, {"tool_calls": [{"tool_name": "x"}]}),
        ({"HTTPStatus": 1, "top-p": 2, "$defs": 3}, {"http_status": 1, "top_p": 2, "defs": 3}),
        ({"arguments": {"cityName": {"zipCode": 1}}}, {"arguments": {"cityName": {"zipCode": 1}}}),
        ({"output": {"toolCalls": []}}, {"output": {"tool_calls": []}}),
        ({"input": [{"finishReason": "x"}]}, {"input": [{"finish_reason": "x"}]}),
        ([["aB"], 1, None], [["aB"], 1, None]),
    ],
)
def test_names_are_spelled_as_on_the_wire_and_payloads_as_they_are(written: Any, spelled: Any) -> None:
    """What a message carries is the user's: unless it is itself a structure of messages."""
    assert decoders.plain(written) == spelled


def test_an_object_of_langchains_keeps_its_names() -> None:
    """Its class and its fields are read by its own reader."""
    value = {"lc": 1, "type": "constructor", "id": ["a", "HumanMessage"], "kwargs": {"additionalKwargs": {}}}

    assert decoders.plain({"theMessage": value}) == {"the_message": value}


USER, ODD = {"role": "user", "content": "x"}, {"strange": 1}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"message": {"role": "user", "content": "x"}, "index": 1}, {"role": "user", "content": "x", "index": 1}),
        ({"author": "user", "text": "x"}, {"role": "user", "content": "x"}),
        ({"type": "HumanMessage", "content": "x"}, {"role": "human", "content": "x"}),
        ({"type": "ai", "data": {"content": "x"}}, {"role": "ai", "content": "x"}),
        (
            {"role": "user", "content": {"content": "x", "finish_reason": "stop"}},
            {"content": "x", "finish_reason": "stop"},
        ),
        (
            {"role": "assistant", "content": "", "options": {"tool_call": [{"id": "1"}]}},
            {"tool_calls": [{"id": "1"}]},
        ),
        (
            {"role": "user", "content": "", "options": {"tool_result": {"id": "1", "result": "x"}}},
            {"role": "tool", "tool_call_id": "1", "content": "x"},
        ),
        (
            {"role": "tool", "responses": [{"id": "1", "response_data": "x"}, "odd"]},
            {"content": [{"type": "tool_result", "tool_use_id": "1", "content": "x"}, "odd"]},
        ),
        (
            {"role": "assistant", "content": [{"message_content": {"type": "text", "text": "x"}}]},
            {"content": [{"type": "text", "text": "x"}]},
        ),
        ({"role": "assistant", "function_calls": [{"tool_call": {"id": "1"}}]}, {"tool_calls": [{"id": "1"}]}),
        ({"role": "assistant", "parts": []}, {"role": "assistant", "parts": []}),
        ("words", "words"),
    ],
)
def test_a_message_is_taken_out_of_its_box(written: Any, read: Any) -> None:
    """Role and content come to stand under the wire's names; what is not touched stays."""
    item = decoders.as_item(written)

    assert (item | read if isinstance(read, dict) else read) == item


def said(messages: list[Json] | None) -> Any:
    return None if messages is None else [(message["role"], message["text"]) for message in messages]


def test_requests_messages_are_read_also_in_a_batch_of_one() -> None:
    """A list in a list is the one conversation in it; LangChain's are read as its own."""
    langchain = {"lc": 1, "type": "constructor", "id": ["a", "HumanMessage"], "kwargs": {"content": "x"}}

    assert said(decoders.read_messages([[USER]])) == [("user", "x")]
    assert said(decoders.read_messages([langchain, ODD])) == [("user", "x")]


ANSWER = {"role": "assistant", "content": "x"}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([ANSWER], [("assistant", "x")]),
        ([{"content": "x"}, "odd"], [("assistant", "x")]),
        ([{"message": {"content": "x"}, "stop_reason": "end"}], [("assistant", "x")]),
        ([ANSWER, {"role": "tool", "content": "y"}], None),
        ([ANSWER, USER], None),
        ([{"type": "message", "role": "assistant", "content": "x"}], [("assistant", "x")]),
        ([{"type": "function_call", "name": "a"}, {"type": "function_call_output", "output": "y"}], None),
        ([{"lc": 1, "type": "constructor", "id": ["a", "HumanMessage"], "kwargs": {"content": "x"}}], None),
    ],
)
def test_a_list_that_holds_more_than_answers_is_no_answer(items: list[Any], expected: Any) -> None:
    """Results of tools or the user's words among them make it a whole run."""
    assert said(decoders.read_answers(items)) == expected


def test_reasons_stand_in_choices_or_apart() -> None:
    """What is given apart goes before."""
    choices = [{"message": {"content": "x"}, "done_reason": "length"}, {"message": {"content": "y"}}]

    assert [message["finish_reason"] for message in decoders.read_answers(choices, ()) or ()] == ["length", None]
    assert [message["finish_reason"] for message in decoders.read_answers([ANSWER], ("stop",)) or ()] == ["stop"]


def test_an_answer_whose_content_nobody_understands_says_so() -> None:
    """It is kept, and marked: nothing is trained on half an answer."""
    answers = decoders.read_answers([{"role": "assistant", "content": [{"type": "hologram", "frames": [1]}]}])

    assert answers is not None
    assert answers[0].get(UNREAD) is True


def test_parameters_of_a_request_stand_beside_its_messages_or_in_a_box() -> None:
    """What stands beside them goes before; tools may be kept by name, or in Bedrock's own box."""
    by_name = {"tools": {"look": {"description": "Looks.", "parameters": {"type": "object"}}}}
    bedrock = {"tool_config": {"tools": [{"tool_spec": {"name": "look"}}]}}
    request = decoders.read_request(
        {"messages": [USER], "temperature": 0.5, "settings": {"temperature": 1.0, "top_p": 0.9}, **by_name}
    )
    boxed = decoders.read_request({"messages": [[USER]], **bedrock})

    assert request is not None
    assert boxed is not None
    assert request.params == {"temperature": 0.5, "top_p": 0.9}
    assert [[tool["name"] for tool in found.tools or ()] for found in (request, boxed)] == [["look"], ["look"]]
    assert said(boxed.input) == [("user", "x")]


@pytest.mark.parametrize(
    "value",
    [{"messages": [ODD]}, {"messages": "x"}, {"input": "x"}, {"prompt": "x"}, {"prompt": ["x"], "model": "m"}, {}],
)
def test_what_lacks_a_requests_marks_is_none(value: Json) -> None:
    """A user's object may have messages, input or a prompt."""
    assert decoders.read_request(value) is None


@pytest.mark.parametrize("value", [{"input": "x", "model": "m"}, {"prompt": "x", "model": "m"}])
def test_a_request_without_messages_is_one_with_a_model(value: Json) -> None:
    """Responses and completions."""
    request = decoders.read_request(value)

    assert request is not None
    assert said(request.input) == [("user", "x")]


@pytest.mark.parametrize(
    ("value", "text", "reason"),
    [
        ({"message": {"role": "assistant", "content": "x"}, "done_reason": "stop"}, "x", "stop"),
        ({"message": {"content": "x", "tool_calls": []}, "finish_reason": "stop"}, "x", "stop"),
        ({"output": {"message": {"role": "assistant", "content": [{"text": "x"}]}}, "stop_reason": "end"}, "x", "end"),
        ({"messages": [ANSWER], "finish_reason": "stop"}, "x", "stop"),
        ({"text": "x", "finish_reason": "stop"}, "x", "stop"),
        ({"completion": "x", "usage": {}}, "x", None),
        ({"role": "assistant", "content": "x"}, "x", None),
        ({"parts": [{"text": "x"}], "role": "model"}, "x", None),
    ],
)
def test_an_answer_is_known_in_any_box(value: Json, text: str, reason: str | None) -> None:
    """Ollama's, Bedrock's, .NET's, or none."""
    response = decoders.read_response(value)

    assert response is not None
    assert response.output is not None
    assert (response.output[0]["text"], response.output[0]["finish_reason"]) == (text, reason)


@pytest.mark.parametrize(
    "value",
    [
        {"text": "x"},
        {"content": "x", "id": "r1"},
        {"role": "user", "content": "x"},
        {"message": "x", "finish_reason": "stop"},
        {"message": {"role": "user", "content": "x"}},
        {"messages": [ANSWER]},
        {"messages": [ANSWER, USER], "usage": {}},
        {"usage": {"prompt_tokens": 1}},
    ],
)
def test_a_text_alone_is_no_answer(value: Json) -> None:
    """Nor is somebody else's message, nor a whole run."""
    response = decoders.read_response(value)

    assert response is None or response.output is None


@pytest.mark.parametrize(
    "usage",
    [
        {"usage": {"inputTokens": 3, "outputTokens": 4}},
        {"usage": {"input_token_count": 3, "output_token_count": 4}},
        {"usage_metadata": {"prompt_token_count": 3, "candidates_token_count": 4}},
        {"prompt_eval_count": 3, "eval_count": 4},
    ],
)
def test_counts_are_read_under_the_names_of_any_api(usage: Json) -> None:
    """Beside the answer, in a box or without one."""
    response = decoders.read_response({"role": "assistant", "content": "x", "id": "r1", "model": "m", **usage})

    assert response is not None
    assert response.usage is not None
    assert (response.usage["input_tokens"], response.usage["output_tokens"]) == (3, 4)
    assert (response.response_id, response.model) == ("r1", "m")


def test_autogens_calls_stand_in_the_place_of_its_words() -> None:
    """The words are apart, as a thought."""
    call = {"id": "1", "name": "look", "arguments": "{}"}

    response = decoders.read_response({"content": [call], "thought": "Hm.", "usage": {}, "finish_reason": "stop"})

    assert response is not None
    assert response.output is not None
    assert (response.output[0]["text"], [asked["name"] for asked in response.output[0]["tool_calls"]]) == (
        "Hm.",
        ["look"],
    )


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ([{"name": "a"}, {"function": {"name": "b"}}], ["a", "b"]),
        ([{"toolSpec": {"name": "a", "inputSchema": {"json": {}}}}], ["a"]),
        (['{"name": "a"}', {"name": "b"}], ["a", "b"]),
        (["a", "b"], None),
        ([{"name": "a", "arguments": {}}], None),
        ([{"name": "a"}, {"title": "b"}], None),
        ([], None),
        ({"name": "a"}, None),
    ],
)
def test_definitions_of_tools_are_told_from_calls_of_them(value: Any, names: list[str] | None) -> None:
    """A list that holds anything else is none."""
    tools = decoders.read_tools(value)

    assert (None if tools is None else [tool["name"] for tool in tools]) == names
