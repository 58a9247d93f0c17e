"""Requests of the Responses API understood, and their answers as events, on a model of two layers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serve.api.answers import Recording
from serve.api.responses import ask_for_evidence, read
from serve.engines.embedded.answers import answer_whole, read_job
from serve.engines.embedded.models import Sampler
from serve.engines.embedded.responses import read_response_job, response_events
from tests.fakes import END
from tests.unit.serve.engines.embedded.reading_aloud import ReadingAloud

TOOL = {"type": "function", "name": "add", "parameters": {"type": "object"}}


CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


def answer(engine: Sampler, **request: Any) -> list[dict[str, Any]]:
    async def main() -> list[dict[str, Any]]:
        engine.start()
        job = read_response_job(engine, ask_for_evidence({"model": "base", "input": "hi", **request}))
        return [event async for event in response_events(engine, job)]

    return asyncio.run(main())


def recorded(event: dict[str, Any]) -> Recording:
    recording = Recording()
    read(recording, event)
    return recording


def test_text_comes_as_openais_events(speaker: ReadingAloud) -> None:
    """In OpenAI's order, numbered; deltas add up to the text, log-probabilities to one for each id."""
    speaker.script = "ok"

    events = answer(speaker)

    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "".join(event.get("delta", "") for event in events) == "ok"
    assert {event["item_id"] for event in events[3:8]} == {events[2]["item"]["id"]}
    assert events[2]["item"]["content"] == []
    choice = recorded(events[-1]).choices[0]
    assert (choice.text, choice.finish_reason) == ("ok", "stop")
    assert choice.token_ids[-1] == END
    assert choice.logprobs == [0.0, -1.0, -2.0]


@pytest.mark.parametrize("said", ["", "Let me see. "])
def test_tool_calls_come_as_items_of_their_own(speaker: ReadingAloud, said: str) -> None:
    """After the text, if any; two of them, each with its arguments; evidence complete either way."""
    speaker.script = said + CALL + CALL

    events = answer(speaker, tools=[TOOL])

    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message"] * bool(said) + ["function_call"] * 2
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in added] == list(range(len(output)))
    assert [event["item"]["id"] for event in added] == [item["id"] for item in output]
    deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    assert deltas == ['{"a": 1}'] * 2
    choice = recorded(events[-1]).choices[0]
    assert choice.text == said
    assert choice.finish_reason == "tool_calls"
    assert len(choice.logprobs) == len(choice.token_ids) > len(CALL)


def test_an_empty_answer_is_an_empty_message(speaker: ReadingAloud) -> None:
    """Else there would be an id without its log-probability."""
    speaker.script = ""

    choice = recorded(answer(speaker)[-1]).choices[0]

    assert (choice.text, choice.token_ids, choice.logprobs) == ("", [END], [0.0])


def test_a_response_samples_what_a_chat_would(path: Path) -> None:
    """The same prompt and, with a seed, the same ids; one that was cut says so."""
    engine = Sampler(path, "base")
    sampled = {"seed": 3, "tools": [TOOL]}
    history = [
        {"role": "user", "content": [{"type": "input_text", "text": "1+1"}]},
        {"type": "function_call", "call_id": "c", "name": "add", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c", "output": "2"},
    ]
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "1+1"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "2"},
    ]

    async def chat() -> dict[str, Any]:
        engine.start()
        request = {"model": "base", "messages": messages, "max_tokens": 6, "return_token_ids": True, **sampled}
        request["tools"] = [{"type": "function", "function": TOOL}]
        return await answer_whole(engine, read_job(engine, request, is_chat=True))

    said = asyncio.run(chat())
    last = answer(engine, input=history, instructions="s", max_output_tokens=6, **sampled)[-1]

    recording = recorded(last)
    assert recording.prompt_token_ids == said["prompt_token_ids"]
    assert recording.choices[0].token_ids == said["choices"][0]["token_ids"]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["usage"]["output_tokens"] == 6


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, r"input\[0\]"),
        ({"input": ["a"]}, r"input\[0\]"),
        ({"input": [{"type": "function_call", "name": "f"}]}, r"input\[0\]"),
        ({"instructions": ["a"]}, "instructions"),
        ({"tools": [{"type": "web_search"}]}, r"tools\[0\]"),
        ({"tools": ["f"]}, "tools"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]}, "not text"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
)
def test_what_would_be_left_out_is_refused(speaker: ReadingAloud, request_: dict[str, Any], name: str) -> None:
    """A conversation without it is another one."""
    with pytest.raises(ValueError, match=name):
        read_response_job(speaker, {"model": "base", "input": "a", **request_})


def test_plain_completions_take_lists_of_prompts(path: Path) -> None:
    """Texts and ids; choices numbered through, each as if its prompt had been asked alone."""
    engine = Sampler(path, "base")

    async def ask(prompt: Any) -> dict[str, Any]:
        request = {"model": "base", "prompt": prompt, "n": 2, "seed": 1, "max_tokens": 4, "return_token_ids": True}
        return await answer_whole(engine, read_job(engine, {**request, "prompt_logprobs": 0}, is_chat=False))

    async def main() -> list[dict[str, Any]]:
        engine.start()
        return [await ask(prompt) for prompt in (["ab", [65, 66, 67]], "ab", [65, 66, 67], [[1], [2]])]

    together, first, second, ids = asyncio.run(main())

    assert [choice["index"] for choice in together["choices"]] == [0, 1, 2, 3]
    apart = [*first["choices"], *second["choices"]]
    for name in ("token_ids", "prompt_token_ids"):
        assert [choice[name] for choice in together["choices"]] == [choice[name] for choice in apart]
    assert [len(choice["prompt_logprobs"]) for choice in together["choices"]] == [2, 2, 3, 3]
    assert together["usage"]["prompt_tokens"] == 5
    assert [choice["prompt_token_ids"] for choice in ids["choices"]] == [[1], [1], [2], [2]]


@pytest.mark.parametrize("prompt", [[], [[]], [[1], 2], [1, "a"], [None], ["a"] * 1025, [[10**6]], [["a"]], {"a": 1}])
def test_what_is_no_prompt_is_refused(speaker: ReadingAloud, prompt: Any) -> None:
    """By name, and before anything is sampled."""
    with pytest.raises(ValueError, match="prompt"):
        read_job(speaker, {"model": "base", "prompt": prompt}, is_chat=False)
