"""Answers of the Responses API as vLLM 0.32 gives them, recorded and reduced."""

import copy
from typing import Any

from serve.api.answers import Recording, Wants
from serve.api.responses import as_chat, ask_for_evidence, client_wants, loosen, read, strip

LOGPROBS = [{"token": "hi", "bytes": [104, 105], "logprob": -0.5, "top_logprobs": []}]
PART = {"annotations": [], "text": "hi", "type": "output_text", "logprobs": LOGPROBS}
CALL = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}', "id": "fc_1"}
ANSWER = {
    "id": "resp_1",
    "object": "response",
    "model": "base",
    "status": "completed",
    "incomplete_details": None,
    "output": [
        {"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "so"}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": [PART]},
    ],
    "top_logprobs": 0,
    "input_messages": [{"message": "<p>", "tokens": [1, 2], "type": "raw_message_tokens"}],
    "output_messages": [{"message": "hi", "tokens": [7], "type": "raw_message_tokens"}],
}
NOTHING = Wants(logprobs=False, token_ids=False)


def recorded(*bodies: dict[str, Any]) -> Recording:
    recording = Recording()
    for body in bodies:
        read(recording, body)
    return recording


def test_an_answer_is_recorded_with_ids_and_logprobs() -> None:
    """Text, reasoning, ids and log-probabilities, as of a chat answer."""
    recording = recorded(ANSWER)

    choice = recording.choices[0]
    assert (recording.id, recording.model, recording.prompt_token_ids) == ("resp_1", "base", [1, 2])
    assert (choice.text, choice.reasoning, choice.token_ids, choice.logprobs) == ("hi", "so", [7], [-0.5])
    assert choice.finish_reason == "stop"


def test_a_tool_call_is_recorded_without_logprobs() -> None:
    """With text only vLLM gives log-probabilities; the ids are there."""
    recording = recorded({**ANSWER, "output": [CALL]})

    choice = recording.choices[0]
    assert choice.tool_calls == {0: {"id": "c1", "name": "add", "arguments": '{"a": 1}'}}
    assert (choice.finish_reason, choice.token_ids, choice.logprobs) == ("tool_calls", [7], [])


def test_of_a_stream_the_last_event_counts() -> None:
    """It holds the whole answer; the pieces before are not counted twice."""
    delta = {"type": "response.output_text.delta", "delta": "hi", "logprobs": LOGPROBS}
    created = {"type": "response.created", "response": {**ANSWER, "output": [], "output_messages": None}}

    recording = recorded(created, delta, {"type": "response.completed", "response": ANSWER})

    assert recording.choices == recorded(ANSWER).choices
    assert recorded(created, delta).choices == {}


def test_a_cut_or_failed_answer_says_so() -> None:
    """As chat answers do: `length`; a failure is an error of the call."""
    cut = {**ANSWER, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}

    assert recorded(cut).choices[0].finish_reason == "length"
    assert recorded({"type": "response.failed", "response": {**ANSWER, "status": "failed"}}).error == "engine_failed"


def test_the_client_gets_no_more_than_it_asked_for() -> None:
    """Neither ids nor log-probabilities are left anywhere in an answer or an event; the text stays."""
    bodies = [
        ANSWER,
        {"type": "response.completed", "response": ANSWER},
        {"type": "response.output_text.delta", "delta": "hi", "logprobs": LOGPROBS},
        {"type": "response.content_part.done", "part": PART},
        {"type": "response.output_item.done", "item": ANSWER["output"][1]},
    ]
    for body in bodies:
        stripped = str(strip(copy.deepcopy(body), NOTHING))
        assert "-0.5" not in stripped
        assert "raw_message_tokens" not in stripped
        assert "hi" in stripped
        assert strip(copy.deepcopy(body), Wants(logprobs=True, token_ids=True)) == body


def test_what_the_client_wants_is_read_from_the_request() -> None:
    """And survives being asked for by us."""
    request = {"include": ["message.output_text.logprobs", "x"], "enable_response_messages": True}

    assert client_wants(request) == Wants(logprobs=True, token_ids=True)
    assert client_wants({"input": "a"}) == NOTHING
    assert ask_for_evidence(request) == request
    assert ask_for_evidence({"include": ["x"]})["include"] == ["x", "message.output_text.logprobs"]


def test_tools_are_not_forced() -> None:
    """Here `strict` stands on the tool itself."""
    tool = {"type": "function", "name": "f", "parameters": {}}

    assert loosen({"tools": [{**tool, "strict": True}, {"type": "x"}]}) == {"tools": [tool, {"type": "x"}]}


def test_a_request_is_described_as_a_chat() -> None:
    """Items become messages; tools take the chat form; a format that cuts the distribution is kept in sight."""
    request = {
        "instructions": "s",
        "input": [
            {"role": "user", "content": "u"},
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "3"},
        ],
        "tools": [{"type": "function", "name": "add", "parameters": {"a": 1}}],
        "text": {"format": {"type": "json_schema"}},
    }

    chat = as_chat(request)

    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    assert chat["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
    ]
    assert chat["tools"] == [{"type": "function", "function": {"name": "add", "parameters": {"a": 1}}}]
    assert chat["response_format"] == {"type": "json_schema"}


def test_items_of_one_turn_are_one_message() -> None:
    """As the template of a chat model wants them, and as the model said them: reasoning, text and calls together."""
    calls = [{"type": "function_call", "call_id": name, "name": name, "arguments": "{}"} for name in ("a", "b")]
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "t"}]}
    thought = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "so"}]}

    messages = as_chat({"input": [thought, said, *calls, said, thought]})["messages"]

    assert [sorted(message) for message in messages] == [
        ["content", "reasoning", "role", "tool_calls"],
        ["content", "role"],
        ["reasoning", "role"],
    ]
    assert [call["id"] for call in messages[0]["tool_calls"]] == ["a", "b"]


def test_logprobs_beside_the_ids_count_where_there_is_no_text() -> None:
    """The embedded engine has them for tool calls; a client that asked for ids alone does not get them."""
    messages = [{"message": "x", "tokens": [7, 8], "logprobs": [-1.0, -2.0], "type": "raw_message_tokens"}]
    answer = {**ANSWER, "output": [CALL], "output_messages": messages}

    assert recorded(answer).choices[0].logprobs == [-1.0, -2.0]
    assert "-2.0" not in str(strip(copy.deepcopy(answer), Wants(logprobs=False, token_ids=True)))
