"""The same gateway in front of real vLLM: one start for all tests here, since it takes half a minute."""

import importlib.util
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from etl.schema import watermark_path
from foundation.errors import ExitStatus
from otel_exporter import schema as names
from serve.change.behavior import read_report
from serve.engines.embedded.chat import encode_conversation
from serve.schema import read_registry
from tests.commands import spanloop
from tests.integration.serve.test_gates import held_out
from tests.served import Served, serving
from tests.serving import altered_checkpoint, collector, with_manifest
from train.schema import model_version, read_manifest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.vllm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make setup-vllm"),
]

POLICY = Path(__file__).parents[3] / "examples" / "calculator" / "policy"
USER = [{"role": "user", "content": "There are 7 birds. 3 fly away. How many are left?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "calculator",
            "description": "Evaluate an arithmetic expression.",
            "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}},
        },
    }
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the demo's policy, in float32, which leaves nothing to rounding."""
    root = tmp_path_factory.mktemp("vllm")
    arguments = ["--model", str(POLICY), "--engine", "vllm", "--name", "base"]
    with (
        collector() as received,
        serving(root / "data", *arguments, "--", "--dtype", "float32", collector=received, timeout_s=500) as one,
    ):
        yield one


def recompute(model: Path, span: dict[str, Any]) -> list[float]:
    prompt, response = span[names.PROMPT_TOKEN_IDS], span[names.CHOICE_TOKEN_IDS.format(index=0)]
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = net(torch.tensor([prompt + response])).logits[0] / span["gen_ai.request.temperature"]
    logprobs = logits.log_softmax(-1)
    return [logprobs[len(prompt) - 1 + place, token].item() for place, token in enumerate(response)]


def live(served: Served) -> Path:
    registry = read_registry(served.data)
    assert registry is not None
    return Path(registry.live)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_recorded_logprobs_are_those_of_the_sampled_distribution(served: Served, temperature: float) -> None:
    """After temperature, within 1e-3 of Transformers in float32; the client sees neither ids nor log-probabilities."""
    answer, headers = served.ask(messages=USER, temperature=temperature, max_tokens=16)

    span = served.span_of(answer["id"])
    assert span[names.CHOICE_LOGPROBS.format(index=0)] == pytest.approx(recompute(live(served), span), abs=1e-3)
    assert headers["x-spanloop-policy-version"] == span[names.POLICY_VERSION] == model_version(live(served))
    assert "prompt_token_ids" not in answer
    assert answer["choices"][0]["logprobs"] is None


def test_truncated_sampling_is_recorded_as_it_was_sampled(served: Served) -> None:
    """Of two tokens left by top-k their probabilities sum to one: no log-probability is below both raw ones."""
    answer, _ = served.ask(messages=USER, top_k=2, max_tokens=16, logprobs=True, top_logprobs=2)

    for entry in answer["choices"][0]["logprobs"]["content"]:
        assert sum(math.exp(each["logprob"]) for each in entry["top_logprobs"]) == pytest.approx(1, abs=1e-3)


def test_a_stream_records_what_a_whole_answer_does(served: Served) -> None:
    """Same seed, same ids and log-probabilities, also with a tool parser holding text back."""
    request = {"messages": USER, "seed": 5, "max_tokens": 48, "tools": TOOLS}

    whole, _ = served.ask(**request)
    chunks = served.stream(**request)

    first, second = served.span_of(whole["id"]), served.span_of(chunks[0]["id"])
    for name in (names.PROMPT_TOKEN_IDS, names.CHOICE_TOKEN_IDS.format(index=0)):
        assert first[name] == second[name]
    assert len(first[names.CHOICE_TOKEN_IDS.format(index=0)]) == whole["usage"]["completion_tokens"]
    logprobs = names.CHOICE_LOGPROBS.format(index=0)
    assert first[logprobs] == pytest.approx(second[logprobs], abs=1e-5)


def test_both_engines_make_the_same_prompt(served: Served) -> None:
    """Tools, tool calls and results: vLLM's prompt ids are those the embedded engine would have made."""
    call = {"id": "c1", "type": "function", "function": {"name": "calculator", "arguments": '{"expression": "1+1"}'}}
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "1+1"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ]

    answer, _ = served.ask(messages=messages, tools=TOOLS, max_tokens=1)

    tokenizer = AutoTokenizer.from_pretrained(live(served))
    assert served.span_of(answer["id"])[names.PROMPT_TOKEN_IDS] == encode_conversation(tokenizer, messages, TOOLS)


def test_a_swap_leaves_nothing_of_the_old_weights_behind(served: Served, tmp_path: Path) -> None:
    """To far-off weights and back, tied head included: each time what Transformers says of the same weights."""
    before = live(served)
    night = altered_checkpoint(POLICY, tmp_path / "night", seed=9)

    promoted = spanloop("serve", "promote", "--data", str(served.data), str(night), "--json")

    assert promoted.returncode == 0, promoted.stderr
    assert json.loads(promoted.stdout)["probe_mean_difference"] < 1e-3
    for model in (night, before):
        answer, headers = served.ask(messages=USER, max_tokens=24)
        span = served.span_of(answer["id"])
        assert headers["x-spanloop-policy-version"] == span[names.POLICY_VERSION] == model_version(model)
        assert span[names.CHOICE_LOGPROBS.format(index=0)] == pytest.approx(recompute(model, span), abs=1e-3)
        if model == night:
            rolled = spanloop("serve", "rollback", "--data", str(served.data))
            assert rolled.returncode == 0, rolled.stderr


def test_a_bad_checkpoint_does_not_end_vllm(served: Served, tmp_path: Path) -> None:
    """A damaged file is refused before vLLM hears of it, which it would not survive; false probes undo the change."""
    said = served.ask(messages=USER, temperature=0, max_tokens=8)[0]["choices"][0]["message"]
    cut = altered_checkpoint(POLICY, tmp_path / "cut", seed=9)
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-100])
    lying = altered_checkpoint(POLICY, tmp_path / "lying", seed=9)
    probes = [
        probe.model_copy(update={"logprobs": [each - 1 for each in probe.logprobs]})
        for probe in read_manifest(lying).probes
    ]
    with_manifest(lying, probes=probes)

    results = [spanloop("serve", "promote", "--data", str(served.data), str(each)) for each in (cut, lying)]

    assert [result.returncode for result in results] == [ExitStatus.REFUSED] * 2
    assert "not a whole safetensors file" in results[0].stderr
    assert "log-probabilities were off" in results[1].stderr
    assert served.ask(messages=USER, temperature=0, max_tokens=8)[0]["choices"][0]["message"] == said


def test_tool_calls_come_as_tool_calls(served: Served) -> None:
    """The Hermes parser reads what the policy was taught to write, whole and streamed; the span has it all."""
    request = {"messages": [{"role": "system", "content": "Use the calculator."}, *USER], "tools": TOOLS}
    request |= {"temperature": 0, "max_tokens": 64}

    whole, _ = served.ask(**request)
    chunks = served.stream(**request)

    (call,) = whole["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "calculator"
    assert json.loads(call["function"]["arguments"]) == {"expression": "7-3"}
    assert whole["choices"][0]["finish_reason"] == "tool_calls"
    deltas = [each for chunk in chunks for each in chunk["choices"][0]["delta"].get("tool_calls") or ()]
    arguments = "".join(each["function"].get("arguments") or "" for each in deltas)
    assert json.loads(arguments) == {"expression": "7-3"}
    first, second = served.span_of(whole["id"]), served.span_of(chunks[0]["id"])
    assert first[names.CHOICE_TOKEN_IDS.format(index=0)] == second[names.CHOICE_TOKEN_IDS.format(index=0)]
    for span in (first, second):
        assert span[names.CHOICE_TEXT_MATCHES.format(index=0)] is True
        (message,) = json.loads(span["gen_ai.output.messages"])
        (part,) = [part for part in message["parts"] if part["type"] == "tool_call"]
        assert (part["name"], part["arguments"]) == ("calculator", {"expression": "7-3"})


@pytest.mark.parametrize("has_tools", [False, True])
def test_the_responses_api_leaves_the_evidence_chat_does(served: Served, has_tools: bool) -> None:
    """Whole and streamed: the same ids; log-probabilities with text, which is where vLLM gives them."""
    tools = [{"type": "function", "strict": True, **TOOLS[0]["function"]}]
    request = {"input": USER[0]["content"], "instructions": "Use the calculator.", "temperature": 0}
    request |= {"max_output_tokens": 48, "tools": tools if has_tools else []}

    whole, _ = served.ask("responses", **request)
    events = served.events("responses", **request)

    first = served.span_of(whole["id"])
    second = served.span_of(events[-1]["response"]["id"])
    ids = names.CHOICE_TOKEN_IDS.format(index=0)
    assert first[ids] == second[ids]
    assert first[names.PROMPT_TOKEN_IDS] == second[names.PROMPT_TOKEN_IDS]
    assert first[names.CHOICE_TEXT_MATCHES.format(index=0)] is True
    kinds = [item["type"] for item in whole["output"]]
    if has_tools:
        assert kinds == ["function_call"]
        assert len(first[ids]) == whole["usage"]["output_tokens"]
    else:
        assert kinds == ["message"]
        assert len(first[names.CHOICE_LOGPROBS.format(index=0)]) == len(first[ids])
    assert whole["output_messages"] is None


@pytest.fixture
def dataset(served: Served) -> Iterator[None]:
    """Publish held-out prompts for one test only: elsewhere a promotion asks nothing."""
    held_out(served.data)
    yield
    shutil.rmtree(watermark_path(served.data).parent)


@pytest.mark.usefixtures("dataset")
def test_held_out_prompts_are_asked_while_calls_wait(served: Served, tmp_path: Path) -> None:
    """Weights that behave go live; those that forgot how to call tools are taken out again."""
    near = altered_checkpoint(POLICY, tmp_path / "near", seed=3, scale=0.001)
    broken = altered_checkpoint(POLICY, tmp_path / "broken", seed=4, scale=2)

    promoted, refused = (spanloop("serve", "promote", "--data", str(served.data), str(each)) for each in (near, broken))

    assert promoted.returncode == 0, promoted.stderr
    assert refused.returncode == ExitStatus.REFUSED
    assert "does not behave as" in refused.stderr
    assert live(served) == near
    reports = [read_report(served.data, model_version(each)) for each in (near, broken)]
    assert [report is not None and (report.num_prompts, report.passed) for report in reports] == [
        (24, True),
        (24, False),
    ]
    answer, _ = served.ask(messages=USER, max_tokens=24)
    span = served.span_of(answer["id"])
    assert span[names.CHOICE_LOGPROBS.format(index=0)] == pytest.approx(recompute(near, span), abs=1e-3)
