"""Answers held to a form, on a model of random weights: whatever it would have said, it says this, in this form."""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import jsonschema
import pytest

from serve.engines.embedded.answers import answer_whole, read_job, stream_answer
from serve.engines.embedded.forms import MAX_BYTES
from serve.engines.embedded.models import Sampler
from serve.engines.embedded.responses import read_response_job, response_events
from serve.evidence.spans import is_masked
from serve.sampling import UnsupportedParameter
from tests.fakes import END, tiny_model

T = TypeVar("T")
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Oslo", "São Paulo"]},
        "days": {"type": "array", "items": {"$ref": "#/$defs/day"}, "minItems": 1, "maxItems": 3},
        "sure": {"type": "boolean"},
        "note": {"type": "string", "maxLength": 4},
    },
    "$defs": {"day": {"type": "integer", "minimum": 1, "maximum": 31}},
    "required": ["city", "days", "sure", "note"],
    "additionalProperties": False,
}
ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "of": {"$ref": "#/$defs/of"}},
    "$defs": {"of": {"enum": ["x", "y"]}},
    "required": ["a", "of"],
    "additionalProperties": False,
}
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = [
    {"type": "function", "function": {"name": "add", "parameters": ADD}},
    {"type": "function", "function": {"name": 'say "hi"', "parameters": NOTHING}},
]
PARAMETERS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
SEEDS = range(4)


class Running:
    """The engine at work, on one loop for all tests."""

    def __init__(self, engine: Sampler, runner: asyncio.Runner) -> None:
        self.engine = engine
        self._runner = runner

    def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(asyncio.wait_for(work, 60))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    engine = Sampler(tiny_model(tmp_path_factory.mktemp("model"), seed=3), "base")

    async def start() -> None:
        engine.start()

    with asyncio.Runner() as runner:
        runner.run(start())
        yield Running(engine, runner)


async def chat(engine: Sampler, **request: Any) -> dict[str, Any]:
    whole = {"model": "base", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 400, **request}
    return await answer_whole(engine, await engine.compile(read_job(engine, whole, is_chat=True)))


def check_schema(text: str) -> None:
    jsonschema.validate(json.loads(text), SCHEMA)


def check_object(text: str) -> None:
    assert isinstance(json.loads(text), dict)


FORMS: list[tuple[dict[str, Any], Callable[[str], Any]]] = [
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}}, check_schema),
    ({"structured_outputs": {"json": SCHEMA}}, check_schema),
    ({"structured_outputs": {"json": json.dumps(SCHEMA), "disable_any_whitespace": False}}, check_schema),
    ({"guided_json": SCHEMA}, check_schema),
    ({"guided_choice": ["yes", 'n"o\n', "é😀"]}, lambda text: ["yes", 'n"o\n', "é😀"].index(text)),
    ({"structured_outputs": {"regex": r"[a-c]{3}/\d"}}, lambda text: re.fullmatch(r"[a-c]{3}/\d", text)[0]),  # type: ignore[index]
    ({"guided_grammar": 'root ::= "a" root | "b"'}, lambda text: re.fullmatch("a*b", text)[0]),  # type: ignore[index]
    ({"structured_outputs": {"grammar": 'start: "a"~3 "b"?'}}, lambda text: re.fullmatch("aaab?", text)[0]),  # type: ignore[index]
]


@pytest.mark.parametrize(("form", "check"), FORMS)
def test_an_answer_has_the_form_that_was_asked_for(
    run: Running, form: dict[str, Any], check: Callable[[str], Any]
) -> None:
    """In all the ways vLLM is asked; each answer ends by itself, and its evidence says that it was held."""

    async def main() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(chat(run.engine, seed=seed, n=2, **form) for seed in SEEDS)))

    for answer in run(main()):
        for choice in answer["choices"]:
            assert choice["finish_reason"] == "stop"
            check(choice["message"]["content"])
    assert is_masked(form)


def test_any_object_is_json_when_it_ends_by_itself(run: Running) -> None:
    """`json_object` has no schema, so that a random model may go on: what ends is an object, what is cut begins one."""

    async def main() -> list[dict[str, Any]]:
        form = {"response_format": {"type": "json_object"}, "max_tokens": 60}
        return list(await asyncio.gather(*(chat(run.engine, seed=seed, **form) for seed in range(8))))

    for answer in run(main()):
        choice = answer["choices"][0]
        assert choice["message"]["content"].startswith("{")
        if choice["finish_reason"] == "stop":
            check_object(choice["message"]["content"])


def test_log_probabilities_are_those_of_what_was_left(run: Running) -> None:
    """Where one token can follow it is certain; alternatives that could not are reported as vLLM does."""

    async def main() -> dict[str, Any]:
        return await chat(run.engine, guided_choice=["yes"], logprobs=True, top_logprobs=2, return_token_ids=True)

    choice = run(main())["choices"][0]

    assert choice["message"]["content"] == "yes"
    assert choice["token_ids"][-1] == END
    assert [entry["logprob"] for entry in choice["logprobs"]["content"]] == [0.0] * len(choice["token_ids"])
    assert {entry["top_logprobs"][1]["logprob"] for entry in choice["logprobs"]["content"]} == {-9999.0}


def test_plain_completions_and_streams_are_held_too(run: Running) -> None:
    """Piece by piece the same text."""

    async def main() -> tuple[str, str]:
        request = {"model": "base", "prompt": "hi", "max_tokens": 300, "seed": 1, "guided_json": SCHEMA}
        job = await run.engine.compile(read_job(run.engine, request, is_chat=False))
        whole = (await answer_whole(run.engine, job))["choices"][0]["text"]
        parts = [chunk["choices"][0]["text"] async for chunk in stream_answer(run.engine, job)]
        return whole, "".join(parts)

    whole, streamed = run(main())

    check_schema(whole)
    assert streamed == whole


def check_calls(message: dict[str, Any], names: set[str]) -> None:
    assert message["content"] is None
    for call in message["tool_calls"]:
        assert call["function"]["name"] in names
        jsonschema.validate(json.loads(call["function"]["arguments"]), PARAMETERS[call["function"]["name"]])


@pytest.mark.parametrize(
    ("choice", "names", "finish_reason"),
    [
        ("required", set(PARAMETERS), "tool_calls"),
        ({"type": "function", "function": {"name": "add"}}, {"add"}, "stop"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {
            "name": "add"}}]}}, {"add"}, "tool_calls"),
    ],
)  # fmt: skip
def test_a_forced_tool_is_called(run: Running, choice: Any, names: set[str], finish_reason: str) -> None:
    """One of those that may be, with arguments of its schema, whole and streamed."""
    forced = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": False}

    async def main() -> list[dict[str, Any]]:
        answers = list(await asyncio.gather(*(chat(run.engine, seed=seed, **forced) for seed in SEEDS)))
        request = {"model": "base", "messages": [{"role": "user", "content": "hi"}], "seed": 0, **forced}
        job = await run.engine.compile(read_job(run.engine, request, is_chat=True))
        deltas = [chunk["choices"][0]["delta"] async for chunk in stream_answer(run.engine, job)]
        streamed = [call for delta in deltas for call in delta.get("tool_calls", ())]
        first = answers[0]["choices"][0]["message"]["tool_calls"]
        assert [call["function"] for call in streamed] == [call["function"] for call in first]
        assert not any(delta.get("content") for delta in deltas)
        return answers

    for answer in run(main()):
        assert answer["choices"][0]["finish_reason"] == finish_reason
        assert len(answer["choices"][0]["message"]["tool_calls"]) == 1
        check_calls(answer["choices"][0]["message"], names)
    assert is_masked(forced)


def test_a_strict_tool_is_held_to_its_schema_once_it_is_called(run: Running) -> None:
    """Text stays free; from the tag on, what follows is a call."""
    strict = [{"type": "function", "function": {**TOOLS[0]["function"], "strict": True}}]
    job = read_job(
        run.engine, {"model": "base", "messages": [{"role": "user", "content": "hi"}], "tools": strict}, is_chat=True
    )
    job = run(run.engine.compile(job))
    assert job.constraint is not None

    def hold(text: str) -> None:
        held = job.constraint.fresh()  # type: ignore[union-attr]
        for token_id in [*run.engine.tokenizer.encode(text), END]:
            held.take(token_id)

    hold('so <tool_call>\n{"name": "add", "arguments": {"a": 7, "of": "x"}}\n</tool_call> ok')
    hold("no call at all")
    with pytest.raises(UnsupportedParameter, match="tools"):
        hold('<tool_call>\n{"name": "add", "arguments": {"b": 1}}\n</tool_call>')


def test_an_answer_of_a_form_may_call_a_tool_instead(run: Running) -> None:
    """As agent frameworks ask for a typed answer beside their tools."""
    both = {"tools": TOOLS, "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}

    async def main() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(chat(run.engine, seed=seed, **both) for seed in range(12))))

    seen = set()
    for answer in run(main()):
        choice = answer["choices"][0]
        if choice["finish_reason"] == "length":
            continue  # call after call
        seen.add(choice["finish_reason"])
        if choice["finish_reason"] == "stop":
            check_schema(choice["message"]["content"])
        else:
            check_calls(choice["message"], set(PARAMETERS))
    assert seen


def test_a_response_has_the_form_of_its_text(run: Running) -> None:
    """`text.format` and `tool_choice` of the Responses API, the answer saying what it was held to."""
    form = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
    tool = {"type": "function", "name": "add", "parameters": ADD}

    async def ask(**request: Any) -> dict[str, Any]:
        job = read_response_job(run.engine, {"model": "base", "input": "hi", "seed": 2, **request})
        object.__setattr__(job, "chat", await run.engine.compile(job.chat))
        return [event async for event in response_events(run.engine, job)][-1]["response"]

    async def main() -> list[dict[str, Any]]:
        forced = {"tools": [tool], "tool_choice": {"type": "function", "name": "add"}}
        return [await ask(text={"format": form}), await ask(**forced)]

    said, called = run(main())

    check_schema(said["output"][0]["content"][0]["text"])
    assert said["text"]["format"] == form
    assert [item["type"] for item in called["output"]] == ["function_call"]
    jsonschema.validate(json.loads(called["output"][0]["arguments"]), ADD)


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": True}}}, "response_format"),
        ({"response_format": {"type": "structural_tag"}}, "response_format"),
        ({"guided_json": {"type": "strin"}}, "guided_json"),
        ({"guided_json": {"$ref": "http://169.254.169.254/x"}}, "guided_json"),
        ({"guided_json": {"$ref": "#"}}, "guided_json"),
        ({"guided_json": {"type": "array", "uniqueItems": True}}, "guided_json"),
        ({"guided_json": {"enum": ["x" * MAX_BYTES]}}, "guided_json"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_regex": "("}, "guided_regex"),
        ({"guided_regex": "(?=a)b"}, "guided_regex"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": [1]}, "guided_choice"),
        ({"guided_grammar": "garbage (("}, "guided_grammar"),
        ({"guided_grammar": "start: nowhere"}, "guided_grammar"),
        ({"structured_outputs": []}, "structured_outputs"),
        ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs"),
        ({"guided_choice": ["a"], "guided_regex": "a"}, "guided_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "always", "tools": TOOLS}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "sub"}}, "tools": TOOLS}, "tool_choice"),
        ({"tool_choice": {"type": "function"}, "tools": TOOLS}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "tools": []}, "tools": TOOLS}, "tool_choice"),
        ({"parallel_tool_calls": False, "tools": TOOLS}, "parallel_tool_calls"),
        ({"tool_choice": "required", "tools": [{"function": {"name": "f", "parameters": 5}}]}, "tools[0]"),
        ({"n": 0}, "n"),
        ({"messages": [5]}, "messages[0]"),
        ({"seed": "x"}, "seed"),
        ({"temperature": {}}, "temperature"),
        ({"stop": 5}, "stop"),
    ],
)
def test_what_cannot_be_held_to_is_refused_by_name(run: Running, request_: dict[str, Any], param: str) -> None:
    """Before anything is sampled, nothing fetched for it, with the name in `error.param`."""
    with pytest.raises(UnsupportedParameter) as refused:
        run(chat(run.engine, **request_))

    assert refused.value.param == param
    assert len(str(refused.value)) < 1000


def test_a_form_that_goes_beyond_bounds_later_ends_its_own_answer(run: Running) -> None:
    """The library gives up on the second token; the answer beside it goes on."""
    wide = {"type": "object", "properties": {f"p{number}": {"type": "null"} for number in range(2500)}}

    async def main() -> list[Any]:
        beside = chat(run.engine, guided_choice=["yes"])
        return await asyncio.gather(chat(run.engine, guided_json=wide), beside, return_exceptions=True)

    failed, answered = run(main())

    assert isinstance(failed, UnsupportedParameter)
    assert failed.param == "guided_json"
    assert answered["choices"][0]["message"]["content"] == "yes"
