import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from otel_exporter import schema as names
from serve.api.answers import Choice, Recording
from serve.evidence.content import input_message
from serve.evidence.decoding import Decoder
from serve.evidence.spans import (
    Call,
    Caller,
    Policy,
    attributes,
    end_span,
    make_provider,
    start_span,
)

POLICY = Policy("checkpoint-1", "t0", None)
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}


def recording(**choice: Any) -> Recording:
    return Recording(id="chatcmpl-1", model="base", prompt_token_ids=[1, 2, 3], choices={0: Choice(**choice)})


def call(recorded: Recording, *, is_chat: bool = True, error: str | None = None, **request: Any) -> Call:
    asked = {"model": "base:live", "temperature": 1, "top_p": 1.0, "top_k": 0, "min_p": 0.0, **request}
    return Call(is_chat, asked, POLICY, "vllm", recorded, error)


def finished(one: Call, headers: dict[str, str]) -> ReadableSpan | None:
    spans = all_finished(one, headers)
    return spans[0] if spans else None


def all_finished(one: Call, headers: dict[str, str]) -> list[ReadableSpan]:
    memory = InMemorySpanExporter()
    provider = make_provider(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("t")
    end_span(tracer, start_span(tracer, headers, is_chat=True, model="base"), one, 2**62)
    provider.shutdown()
    return list(memory.get_finished_spans())


def test_a_call_is_recorded_in_full() -> None:
    """Conventional names for what they cover, ours for ids, log-probabilities and policy."""
    recorded = recording(text="4", finish_reason="stop", token_ids=[7, 2], logprobs=[-0.5, -0.25])

    found = attributes(
        call(recorded, messages=[{"role": "user", "content": "2+2"}], tools=[TOOL], max_tokens=8, seed=3, stop="\n")
    )

    assert {name: value for name, value in found.items() if not name.endswith(("messages", "definitions"))} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "base:live",
        "gen_ai.request.temperature": 1.0,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.top_k": 0,
        "spanloop.request.min_p": 0.0,
        "gen_ai.request.max_tokens": 8,
        "gen_ai.request.seed": 3,
        "gen_ai.request.stop_sequences": ["\n"],
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "base",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 2,
        "spanloop.policy.version": "checkpoint-1",
        "spanloop.tokenizer.digest": "t0",
        "spanloop.prompt.token_ids": [1, 2, 3],
        "spanloop.choice.0.token_ids": [7, 2],
        "spanloop.choice.0.logprobs": [-0.5, -0.25],
        "spanloop.logprobs.mode": "processed",
    }
    assert json.loads(str(found["gen_ai.tool.definitions"])) == [{"type": "function", **TOOL["function"]}]  # type: ignore[dict-item]
    assert json.loads(str(found["gen_ai.output.messages"])) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "4"}], "finish_reason": "stop"}
    ]


def test_logprobs_that_do_not_fit_the_ids_are_left_out() -> None:
    """One each or none: a shifted list would train on the wrong tokens."""
    found = attributes(call(recording(token_ids=[7, 8, 9], logprobs=[-0.5, -0.25])))

    assert names.CHOICE_TOKEN_IDS.format(index=0) in found
    assert names.CHOICE_LOGPROBS.format(index=0) not in found
    assert names.LOGPROBS_MODE not in found


def test_tool_calls_and_results_become_parts() -> None:
    """Arguments as an object where they are JSON, as text where a model wrote something else."""
    said = input_message(
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]}
    )
    heard = input_message({"role": "tool", "tool_call_id": "c", "content": "4"})

    assert said == {"role": "assistant", "parts": [{"type": "tool_call", "id": "c", "name": "f", "arguments": "{"}]}
    assert heard == {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "4"}]}


def test_the_span_joins_the_callers_trace() -> None:
    """The caller's span is its parent; without one the call has a trace of its own."""
    joined = finished(call(recording()), {"Traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    alone = finished(call(recording()), {})

    assert joined is not None
    assert joined.parent is not None
    assert f"{joined.context.trace_id:032x}" == "a" * 32
    assert f"{joined.parent.span_id:016x}" == "b" * 16
    assert alone is not None
    assert alone.parent is None


def test_a_caller_that_is_not_sampled_gets_no_span() -> None:
    """Its own spans go nowhere; one of ours would be an orphan, and it asked for none."""
    assert finished(call(recording()), {"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}) is None


def test_a_failed_call_says_so() -> None:
    """Status ERROR and error.type, with what was recorded until then."""
    span = finished(call(recording(text="half"), error="503"), {})

    assert span is not None
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "503"
    assert "half" in str(span.attributes["gen_ai.output.messages"])


def test_long_token_lists_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits set for other spans by environment variables do not hold for evidence."""
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "16")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "4")
    ids = list(range(5000))
    recorded = recording(text="x" * 1000, token_ids=ids, logprobs=[-0.5] * 5000)

    span = finished(call(recorded), {})

    assert span is not None
    assert span.attributes is not None
    assert span.attributes[names.CHOICE_TOKEN_IDS.format(index=0)] == tuple(ids)
    assert len(span.attributes[names.CHOICE_LOGPROBS.format(index=0)]) == 5000  # type: ignore[arg-type]
    assert "x" * 1000 in str(span.attributes["gen_ai.output.messages"])


def test_who_asked_is_on_the_span() -> None:
    """Under the names agents set themselves, so that the ETL needs to know one way only."""
    one = Call(True, {}, POLICY, "vllm", recording(text="4"), caller=Caller(episode="e1", agent="planner", task="t"))

    found = attributes(one)

    assert [found[name] for name in (names.EPISODE_ID, names.AGENT_NAME, names.TASK_ID)] == ["e1", "planner", "t"]


@pytest.mark.parametrize(
    ("request_", "mode"),
    [
        ({}, "processed"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "processed"),
        ({"response_format": {"type": "text"}, "logit_bias": {}, "presence_penalty": 0.0}, "processed"),
        ({"response_format": {"type": "json_schema"}}, "masked"),
        ({"tools": [TOOL], "tool_choice": "required"}, "masked"),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]}, "masked"),
        ({"logit_bias": {"5": 1}}, "masked"),
        ({"repetition_penalty": 1.1}, "masked"),
    ],
)
def test_a_distribution_cut_by_more_than_its_parameters_is_marked(request_: dict[str, Any], mode: str) -> None:
    """Its log-probabilities are true of what was sampled, and false of the policy on its own."""
    found = attributes(call(recording(text="4", token_ids=[7], logprobs=[-0.5]), **request_))

    assert found[names.LOGPROBS_MODE] == mode


class Contradiction(Decoder):
    """Says of every choice that its ids are not its text."""

    def __init__(self) -> None:
        pass

    def matches(self, choice: Choice) -> bool | None:  # noqa: ARG002 - the signature
        return False


def test_ids_that_are_not_the_text_are_no_evidence() -> None:
    """They stay for whoever looks into it, without log-probabilities, so that nothing trains on them."""
    recorded = recording(text="4", token_ids=[7], logprobs=[-0.5])
    policy = Policy("v", None, None, Contradiction())

    found = attributes(Call(True, {}, policy, "vllm", recorded))

    assert found[names.CHOICE_TEXT_MATCHES.format(index=0)] is False
    assert found[names.CHOICE_TOKEN_IDS.format(index=0)] == [7]
    assert names.CHOICE_LOGPROBS.format(index=0) not in found


def test_a_completion_of_several_prompts_has_a_span_for_each() -> None:
    """Each with its own prompt and choices, beside each other in one trace, under ids of their own."""
    choices = {
        index: Choice(text="x", token_ids=[index], logprobs=[-0.5], prompt_token_ids=[index // 2 + 1])
        for index in range(4)
    }
    recorded = Recording(id="cmpl-1", model="base", prompt_token_ids=[1], choices=choices)

    first, second = all_finished(call(recorded, is_chat=False, prompt=["a", "b"], n=2), {})

    assert first.attributes is not None
    assert second.attributes is not None
    assert [span.attributes["gen_ai.response.id"] for span in (first, second)] == ["cmpl-1", "cmpl-1-1"]
    assert [span.attributes[names.PROMPT_TOKEN_IDS] for span in (first, second)] == [(1,), (2,)]
    assert [span.attributes[names.CHOICE_TOKEN_IDS.format(index=1)] for span in (first, second)] == [(1,), (3,)]
    assert json.loads(second.attributes["gen_ai.input.messages"])[0]["parts"][0]["content"] == "b"
    assert first.context.trace_id == second.context.trace_id
    assert first.context.span_id != second.context.span_id


@pytest.mark.parametrize("request_", [{"prompt": ["a", "b"], "n": -1}, {"prompt": ["a"], "n": "x"}, {"prompt": [[]]}])
def test_odd_lists_of_prompts_have_one_span(request_: dict[str, Any]) -> None:
    """They were refused, or answered by an engine that knows better."""
    for choices in ({}, {5: Choice(text="x", token_ids=[1])}):
        recorded = Recording(id="cmpl-1", model="base", choices=choices)
        assert len(all_finished(call(recorded, is_chat=False, **request_), {})) == 1
