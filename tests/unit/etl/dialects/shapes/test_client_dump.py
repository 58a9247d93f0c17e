"""Requests and responses that a client's own JSON holds, of each API, whole and cut off."""

import json
from typing import Any

import pytest

from etl.dialects.shapes.client_dump import (
    history_facts,
    read_request,
    read_response,
    salvage_request,
    salvage_response,
    sampling_params,
)

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"x": 2}'}}


def test_a_request_is_of_the_api_whose_shape_it_has() -> None:
    """Instructions stand first, wherever the API puts them."""
    user = {"role": "user", "content": "2+2?"}
    found = {
        "chat.completions": {"model": "m", "messages": [{"role": "system", "content": "Add."}, user]},
        "messages": {"model": "m", "max_tokens": 9, "system": "Add.", "messages": [user]},
        "responses": {"model": "m", "instructions": "Add.", "input": "2+2?"},
    }

    for api, body in found.items():
        request = read_request(json.dumps(body))
        assert request is not None
        assert request.api == api
        assert [(one["role"], one["text"]) for one in request.input or ()] == [("system", "Add."), ("user", "2+2?")]


def test_a_prompt_alone_is_a_completion() -> None:
    """Where a model is named: any other object may have a prompt."""
    request = read_request({"model": "m", "prompt": "2+2="})
    assert request is not None
    assert (request.api, request.input) == ("completions", [{"role": "user", "text": "2+2="}])
    assert read_request({"prompt": "2+2="}) is None


def test_a_response_is_of_the_api_whose_shape_it_has() -> None:
    """With its id, its reason and what it asks for."""
    chat = {"id": "chatcmpl-1", "choices": [{"message": {"role": "assistant", "tool_calls": [CALL]}, "finish_reason": "tool_calls"}]}  # fmt: skip  # noqa: E501
    anthropic = {"id": "msg_1", "content": [{"type": "tool_use", "id": "c1", "name": "add", "input": {"x": 2}}], "stop_reason": "tool_use"}  # fmt: skip  # noqa: E501
    item = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"x": 2}'}
    responses = {"id": "resp_1", "object": "response", "status": "completed", "output": [item]}

    for api, body in (("chat.completions", chat), ("messages", anthropic), ("responses", responses)):
        response = read_response(json.dumps(body))
        assert response is not None
        assert (response.api, response.response_id) == (api, body["id"])
        [answer] = response.output or ()
        assert answer["tool_calls"] == [{"id": "c1", "name": "add", "arguments": {"x": 2}}]


def test_parameters_that_were_not_given_are_none() -> None:
    """And each has one name, whoever's client it was."""
    assert sampling_params({"temperature": 0.0, "top_p": None, "stop": "", "random_seed": 3, "topK": 5}) == {
        "temperature": 0.0,
        "seed": 3,
        "top_k": 5,
    }
    assert sampling_params({"response_format": "Answer"}) == {}
    assert sampling_params("temperature") == {}


def test_what_a_cut_leaves_is_told_and_no_more() -> None:
    """The messages that are whole, and that there was another; an id, where the answer begins with it."""
    request = salvage_request('{"model":"m","input":[{"role":"user","content":"a"},{"role":"user","content":"b')
    assert request is not None
    assert (request.api, request.model) == ("responses", "m")
    assert [one["text"] for one in request.input or ()] == ["a", None]

    response = salvage_response('{"id":"msg_1","model":"claude","content":[{"te')
    assert response is not None
    assert (response.api, response.response_id, response.output) == ("messages", "msg_1", None)


@pytest.mark.parametrize("value", [None, 5, "", "hello", {}, {"messages": "hi"}, {"choices": 1}, [1, 2], '{"a'])
def test_what_is_neither_is_none(value: Any) -> None:
    """Nothing is made of a text, a number or another object."""
    assert read_request(value) is None
    assert read_response(value) is None
    assert salvage_request(value) is None
    assert salvage_response(value) is None


def test_a_history_tells_the_ids_of_earlier_answers() -> None:
    """As Agno's does, beside each message."""
    told = {"role": "assistant", "content": "4", "provider_data": {"id": "chatcmpl-1"}}

    [fact] = history_facts({"messages": [{"role": "user", "content": "2+2?"}, told]})

    assert (fact.response_id, fact.signature) == ("chatcmpl-1", "4")
    assert history_facts({"messages": [{"role": "user", "content": "provider_data"}]}) == []


def test_what_a_wrapper_was_called_with_is_the_request() -> None:
    """As Portkey's client has it: own parameters that nobody gave are printed objects, the others stand in `kwargs`."""
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    wrapped = {"model": "m", "messages": [{"role": "user", "content": "2+2?"}], "kwargs": {"tools": [tool], "seed": 3}}

    request = read_request({**wrapped, "temperature": "<openai.Omit object at 0x7f7094daae10>"})

    assert request is not None
    assert [found["name"] for found in request.tools or ()] == ["add"]
    assert request.params == {"seed": 3}
