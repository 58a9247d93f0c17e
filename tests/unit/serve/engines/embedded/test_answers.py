"""A request is understood before anything is sampled, and its answer has OpenAI's shape."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.engines.embedded.answers import (
    MAX_CHOICES,
    MAX_ROWS,
    PromptTooLong,
    describe_logprobs,
    read_delta,
    read_ids,
    read_job,
)
from serve.engines.embedded.chat import BadConversation, ToolCallStream
from serve.engines.embedded.generation import Token
from serve.engines.embedded.models import GrowingAnswer, Job, Piece, Sampler, Weights
from serve.sampling import UnsupportedParameter

WEIGHTS = cast("Weights", SimpleNamespace(max_length=32, vocabulary_size=256))
CALL = '<tool_call>{"name": "look", "arguments": {"at": "sky"}}</tool_call>'
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


class Bytes:
    """A tokenizer whose ids are bytes."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")


def engine(names: Sequence[str] = ("m",)) -> Sampler:
    def find(name: object) -> Weights:
        if name not in names:
            raise ValueError(name)
        return WEIGHTS

    return cast("Sampler", SimpleNamespace(tokenizer=Bytes(), find=find, special_tokens=()))


def job(**request: Any) -> Job:
    return read_job(engine(), {"model": "m", "prompt": "hi", **request}, is_chat=False)


def test_a_completion_answers_sixteen_tokens_when_nothing_is_said() -> None:
    """OpenAI's own default; an explicit null is nothing said, and room bounds what is asked for."""
    assert [job(**asked).sampling.max_tokens for asked in ({}, {"max_tokens": None}, {"max_tokens": 3})] == [16, 16, 3]
    assert (job().num_choices, job(n=None).num_choices, job(n=2).num_choices) == (1, 1, 2)


def test_log_probabilities_are_asked_for_by_any_number() -> None:
    """By 0 too: those of the sampled tokens alone; not by null or false."""
    assert [job(**asked).logprobs for asked in ({}, {"logprobs": None}, {"logprobs": 0}, {"logprobs": 2})] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("length", [0, 32, 40])
def test_a_prompt_leaves_room_for_a_token(length: int) -> None:
    """The empty one is none either; of several the one that does not fit counts."""
    with pytest.raises(PromptTooLong, match="maximum context length is 32 tokens") as caught:
        job(prompt=[[1], [1] * length])
    assert caught.value.param == "prompt"
    assert job(prompt=[1] * 31).prompts == [[1] * 31]


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": 1.0}, "n"),
        ({"n": MAX_CHOICES + 1}, "n"),
        ({"n": MAX_CHOICES, "prompt": ["a"] * (MAX_ROWS // MAX_CHOICES + 1)}, "prompt"),
        ({"stream_options": {}}, "stream_options"),
        ({"stream_options": [], "stream": True}, "stream_options"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(request_: dict[str, Any], name: str) -> None:
    """Before anything is sampled."""
    with pytest.raises(UnsupportedParameter) as caught:
        job(**request_)
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        ({"tools": {"a": 1}}, "tools"),
        ({"tools": [TOOL, {"type": "function", "function": {}}]}, "tools[1]"),
        ({"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message"),
        ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": [1]}, "chat_template_kwargs"),
    ],
)
def test_a_conversation_that_cannot_be_rendered_is_refused_by_name(request_: dict[str, Any], name: str) -> None:
    """What templates get from the engine is nobody's to set."""
    request = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **request_}
    with pytest.raises(UnsupportedParameter) as caught:
        read_job(engine(), request, is_chat=True)
    assert caught.value.param == name


@pytest.mark.parametrize("ids", [[256], [-1], [True], [1.0], "1", None])
def test_ids_are_of_the_models_own_vocabulary(ids: object) -> None:
    """A boolean is none."""
    with pytest.raises(BadConversation):
        read_ids(WEIGHTS, ids, "prompt")
    assert read_ids(WEIGHTS, [0, 255], "prompt") == [0, 255]


def chat(**fields: Any) -> Job:
    return replace(job(), is_chat=True, parse_tools=True, **fields)


def token(text: str, *top: str) -> Token:
    return Token(text.encode()[0], -0.5, tuple((other.encode()[0], -1.0) for other in top), None)


def test_log_probabilities_have_the_shape_of_the_api_that_asked() -> None:
    """Null where nobody did; in completions the sampled token is among the likeliest."""
    of_chat = describe_logprobs(engine(), chat(logprobs=True), [token("a", "a", "b")])
    of_text = describe_logprobs(engine(), job(logprobs=1), [token("a", "b"), token("c")])

    assert describe_logprobs(engine(), job(), [token("a")]) is None
    assert of_chat is not None
    assert of_chat["content"][0]["bytes"] == [97]
    assert [entry["token"] for entry in of_chat["content"][0]["top_logprobs"]] == ["a", "b"]
    assert of_text is not None
    assert of_text["top_logprobs"] == [{"a": -0.5, "b": -1.0}, {"c": -0.5}]


def deltas(pieces: Sequence[str], reason: str, **fields: Any) -> list[tuple[dict[str, Any], str | None]]:
    asked, splitter, choice = chat(**fields), ToolCallStream(), GrowingAnswer(0)
    found = []
    for number, text in enumerate(pieces, 1):
        choice.finish_reason = reason if number == len(pieces) else None
        found.append(read_delta(asked, Piece(choice, token("x"), text), splitter))
    return found


def test_words_go_out_as_they_come_and_calls_when_they_are_whole() -> None:
    """However a call is cut into pieces; none of its marks is shown as words."""
    found = deltas(["Hm. ", CALL[:5], CALL[5:30], CALL[30:]], "stop")

    assert "".join(delta.get("content", "") for delta, _ in found).strip() == "Hm."
    calls = [call for delta, _ in found for call in delta.get("tool_calls", ())]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "look")]
    assert [reason for _, reason in found] == [None, None, None, "tool_calls"]


@pytest.mark.parametrize(
    ("reason", "fields", "told"),
    [("length", {}, "length"), ("stop", {"is_named": True}, "stop"), ("stop", {}, "tool_calls")],
)
def test_a_reason_is_the_calls_only_where_the_model_ended_by_itself(
    reason: str, fields: dict[str, Any], told: str
) -> None:
    """One that was cut says so, and so does one whose tool the request named."""
    assert deltas([CALL], reason, **fields)[-1][1] == told
