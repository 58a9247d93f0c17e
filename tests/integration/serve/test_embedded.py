"""`spanloop serve` as it runs for real, with the embedded engine: processes, sockets, OTLP."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from openai import BadRequestError, OpenAI
from transformers import AutoModelForCausalLM

from foundation.errors import ExitStatus
from otel_exporter import schema as names
from serve import cli
from serve.change.control import ask_running
from serve.change.registry import NothingBefore, read_audit
from serve.schema import read_registry, read_server, server_path
from serve.settings import RegistryConfig
from tests.commands import spanloop
from tests.fakes import tiny_model
from tests.served import Served, serving
from tests.serving import collector, tiny_checkpoint
from train.schema import model_version, read_manifest

pytestmark = pytest.mark.integration

USER = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("embedded")
    model = tiny_model(root / "base", seed=0)
    with (
        collector() as received,
        serving(root / "data", "--model", str(model), "--engine", "embedded", collector=received) as one,
    ):
        yield one


def recompute(model: Path, span: dict[str, Any], index: int = 0) -> list[float]:
    """Log-probabilities of a recorded answer under a model in float32, at the temperature the span names."""
    prompt = span[names.PROMPT_TOKEN_IDS]
    response = span[names.CHOICE_TOKEN_IDS.format(index=index)]
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = net(torch.tensor([prompt + response])).logits[0] / span["gen_ai.request.temperature"]
    logprobs = logits.log_softmax(-1)
    return [logprobs[len(prompt) - 1 + place, token].item() for place, token in enumerate(response)]


def test_recorded_logprobs_are_those_of_the_model(served: Served) -> None:
    """Thirty-two calls at once, each with its own temperature: a fresh computation agrees within 1e-3."""
    answers: list[dict[str, Any]] = []

    def ask(place: int) -> None:
        messages = [{"role": "user", "content": "x" * place}]
        answers.append(served.ask(messages=messages, temperature=0.5 + place / 16, max_tokens=4 + place)[0])

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    registry = read_registry(served.data)
    assert registry is not None
    assert len(answers) == 32
    for answer in answers:
        span = served.span_of(answer["id"])
        recorded = span[names.CHOICE_LOGPROBS.format(index=0)]
        assert recorded == pytest.approx(recompute(Path(registry.live), span), abs=1e-3)
        assert len(recorded) == answer["usage"]["completion_tokens"] == span["gen_ai.usage.output_tokens"]
        assert span.get(names.CHOICE_TEXT_MATCHES.format(index=0)) is not False  # half a character cannot be compared
        assert "token_ids" not in answer["choices"][0]


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_a_stream_says_and_records_what_a_whole_answer_does(served: Served, path: str) -> None:
    """Same seed, same text, same ids and log-probabilities, two choices."""
    request = {"seed": 5, "n": 2, "max_tokens": 12, **({"messages": USER} if "chat" in path else {"prompt": "hello"})}

    whole, _ = served.ask(path, **request)
    chunks = served.stream(path, **request)

    spans = [served.span_of(whole["id"]), served.span_of(chunks[0]["id"])]
    for index in range(2):
        pieces = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
        if "chat" in path:
            streamed = "".join(piece["delta"].get("content") or "" for piece in pieces)
            assert streamed == whole["choices"][index]["message"]["content"]
        else:
            assert "".join(piece["text"] for piece in pieces) == whole["choices"][index]["text"]
        ids, logprobs = names.CHOICE_TOKEN_IDS.format(index=index), names.CHOICE_LOGPROBS.format(index=index)
        assert spans[0][ids] == spans[1][ids]
        assert spans[0][logprobs] == pytest.approx(spans[1][logprobs], abs=1e-5)
    assert spans[0][names.PROMPT_TOKEN_IDS] == spans[1][names.PROMPT_TOKEN_IDS]
    assert spans[0][names.CHOICE_TOKEN_IDS.format(index=0)] != spans[0][names.CHOICE_TOKEN_IDS.format(index=1)]


class Load:
    """Clients that ask without pause, and keep what they got."""

    def __init__(self, served: Served, num_clients: int = 6) -> None:
        self.answers: list[tuple[str, str]] = []
        self.failures: list[BaseException] = []
        self._served = served
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(place,)) for place in range(num_clients)]

    def _run(self, place: int) -> None:
        while not self._stop.is_set():
            try:
                answer, headers = self._served.ask(messages=USER, max_tokens=1 + place * 4)
                self.answers.append((answer["id"], headers["x-spanloop-policy-version"]))
            except Exception as failure:  # noqa: BLE001 - whatever it was, the test must see it
                self.failures.append(failure)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_models_change_under_load_without_anyone_noticing(served: Served, tmp_path: Path) -> None:
    """No call fails; every answer names the weights that made it, proved by recomputing its log-probabilities."""
    registry = read_registry(served.data)
    assert registry is not None
    checkpoints = [tiny_checkpoint(tmp_path / f"night-{seed}", seed=seed) for seed in (11, 12)]
    models = {model_version(path): path for path in [Path(registry.live), *checkpoints]}

    with Load(served) as load:
        for checkpoint in checkpoints:
            time.sleep(0.3)
            report = ask_running(served.data, "promote", {"checkpoint": str(checkpoint)})
            assert report is not None
            assert report["live_version"] == read_manifest(checkpoint).checkpoint_id
            assert report["probe_mean_difference"] < 1e-4
            assert report["probe_shift"] > 0.1
        for _ in checkpoints:
            time.sleep(0.3)
            assert ask_running(served.data, "rollback", {}) is not None

    assert load.failures == []
    assert {version for _, version in load.answers} == set(models)
    by_version: dict[str, list[dict[str, Any]]] = {}
    for response_id, version in load.answers:
        span = served.span_of(response_id)
        assert span[names.POLICY_VERSION] == version
        by_version.setdefault(version, []).append(span)
    for version, spans in by_version.items():
        for span in spans[:: max(1, len(spans) // 10)]:
            recorded = span[names.CHOICE_LOGPROBS.format(index=0)]
            assert recorded == pytest.approx(recompute(models[version], span), abs=1e-3)
    assert read_registry(served.data) == registry.model_copy(
        update={"changed_time": read_audit(served.data)[-1]["time"]}
    )


def test_a_bad_checkpoint_is_refused_and_service_goes_on(served: Served, tmp_path: Path) -> None:
    """Exit status 3, the registry as it was, the same answers as before."""
    before = read_registry(served.data)
    request = {"messages": USER, "temperature": 0, "max_tokens": 8}
    said = served.ask(**request)[0]["choices"]
    damaged = tiny_checkpoint(tmp_path / "damaged", seed=21, weights_digest="0" * 64)
    lying = tiny_checkpoint(tmp_path / "lying", seed=22)
    probes = read_manifest(tiny_checkpoint(tmp_path / "other", seed=23)).probes
    manifest = read_manifest(lying).model_copy(update={"probes": probes})
    (lying / "manifest.json").write_text(manifest.model_dump_json())
    refused = tiny_checkpoint(tmp_path / "refused", seed=24, gate={"passed": False, "reason": "worse"})

    results = [
        spanloop("serve", "promote", "--data", str(served.data), str(each)) for each in (damaged, lying, refused)
    ]

    assert [result.returncode for result in results] == [ExitStatus.REFUSED] * 3
    for result, words in zip(
        results, ("not those of its manifest", "log-probabilities were off", "worse"), strict=True
    ):
        assert words in result.stderr
    assert read_registry(served.data) == before
    assert served.ask(**request)[0]["choices"] == said


def test_force_overrules_the_evaluation_only(served: Served, tmp_path: Path) -> None:
    """What was refused as worse can be served on purpose."""
    refused = tiny_checkpoint(tmp_path / "refused", seed=31, gate={"passed": False, "reason": "worse"})

    forced = spanloop("serve", "promote", "--data", str(served.data), "--force", str(refused))

    assert forced.returncode == 0, forced.stderr
    assert served.ask(messages=USER)[1]["x-spanloop-policy-version"] == model_version(refused)
    assert spanloop("serve", "rollback", "--data", str(served.data)).returncode == 0


def test_the_engine_refuses_what_it_would_have_to_ignore(served: Served) -> None:
    """400 with the parameter's name, passed on by the gateway."""
    with pytest.raises(Exception, match="400"):
        served.ask(messages=USER, frequency_penalty=0.5)


def test_an_answer_held_to_a_form_says_so(served: Served) -> None:
    """OpenAI's client reads what it asked for, whole and streamed; the evidence is complete, and marked `masked`."""
    client = OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {**schema, "additionalProperties": False}}}
    asked: dict[str, Any] = {"model": "base:live", "messages": USER, "max_tokens": 60, "response_format": form}

    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    with pytest.raises(BadRequestError) as refused:
        client.chat.completions.create(**{**asked, "response_format": {"type": "json_schema", "json_schema": {}}})

    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    for text in (whole.choices[0].message.content or "", streamed):
        assert set(json.loads(text)) == {"ok"}
    assert refused.value.param == "response_format"
    span = served.span_of(whole.id)
    assert span[names.LOGPROBS_MODE] == "masked"
    ids, logprobs = names.CHOICE_TOKEN_IDS.format(index=0), names.CHOICE_LOGPROBS.format(index=0)
    assert len(span[logprobs]) == len(span[ids])


def test_openais_client_gets_responses(served: Served) -> None:
    """Whole and streamed: the same text, typed events in order, evidence as of a chat."""
    client = OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
    asked: dict[str, Any] = {"model": "base:live", "input": "hello", "instructions": "s", "max_output_tokens": 8}
    asked["extra_body"] = {"seed": 4}

    whole = client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        events = list(stream)
        streamed = stream.get_final_response() if events[-1].type == "response.completed" else events[-1].response

    assert whole.output_text == streamed.output_text
    assert whole.usage is not None
    assert whole.usage.output_tokens <= 8
    assert [event.type for event in events][:2] == ["response.created", "response.in_progress"]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    first, second = served.span_of(whole.id), served.span_of(streamed.id)
    ids, logprobs = names.CHOICE_TOKEN_IDS.format(index=0), names.CHOICE_LOGPROBS.format(index=0)
    assert first[ids] == second[ids]
    assert first[names.PROMPT_TOKEN_IDS] == second[names.PROMPT_TOKEN_IDS]
    assert len(first[logprobs]) == len(first[ids]) == whole.usage.output_tokens
    assert first[names.LOGPROBS_MODE] == "processed"
    with pytest.raises(BadRequestError, match="previous_response_id"):
        client.responses.create(**asked, previous_response_id="resp_1")


def test_a_list_of_prompts_leaves_a_span_for_each(served: Served) -> None:
    """Whole and streamed: each with its own prompt, and log-probabilities the model has after it."""
    for chunks in (
        [served.ask("completions", prompt=["ab", "cde"], max_tokens=4)[0]],
        served.stream("completions", prompt=["ab", "cde"], max_tokens=4),
    ):
        assert {choice["index"] for chunk in chunks for choice in chunk["choices"]} == {0, 1}
        registry = read_registry(served.data)
        assert registry is not None
        for name, length in ((chunks[0]["id"], 2), (f"{chunks[0]['id']}-1", 3)):
            span = served.span_of(name)
            assert len(span[names.PROMPT_TOKEN_IDS]) == length
            recorded = span[names.CHOICE_LOGPROBS.format(index=0)]
            assert recorded == pytest.approx(recompute(Path(registry.live), span), abs=1e-3)


def test_only_one_gateway_serves_a_directory(served: Served) -> None:
    """The second says who holds it, and ends with the status that means busy."""
    second = spanloop("serve", "run", "--data", str(served.data), "--listen", "127.0.0.1:0")

    assert second.returncode == ExitStatus.BUSY
    assert str(served.process.pid) in second.stderr


def test_strangers_change_nothing(served: Served) -> None:
    """The control endpoint wants the token of this start, and the file that has it is the owner's alone."""
    server = read_server(served.data)
    assert server is not None
    request = urllib.request.Request(f"{server.control_url}/rollback", b"{}", {"Authorization": "Bearer guess"})

    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        urllib.request.urlopen(request)

    refused.value.close()
    assert server_path(served.data).stat().st_mode & 0o777 == 0o600


def test_without_a_gateway_only_the_registry_changes(tmp_path: Path) -> None:
    """Promote, status and rollback work on their own, and a dry run on nothing at all."""
    from serve.change.registry import initialise

    data, night = tmp_path / "data", tiny_checkpoint(tmp_path / "night", seed=1)
    initialise(data, tiny_model(tmp_path / "base"), "base")
    before = read_registry(data)
    assert before is not None
    config = RegistryConfig(data=data)

    cli.promote(night, config=config, dry_run=True)
    assert read_registry(data) == before
    cli.promote(night, config=config)
    status = json.loads(spanloop("serve", "status", "--data", str(data), "--json").stdout)
    assert (status["live"], status["is_running"]) == (str(night), False)
    cli.rollback(config=config)
    after = read_registry(data)
    assert after is not None
    assert (after.live, after.previous) == (before.live, ())
    with pytest.raises(NothingBefore) as refused:
        cli.rollback(config=config)
    assert refused.value.exit_status is ExitStatus.SETTINGS
