"""The gateway over a real socket, in front of an engine of cardboard that says what it is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from otel_exporter.schema import (
    AGENT_NAME,
    CALLER_PROJECT,
    CANARY_ARM,
    CANARY_UNIT,
    CHOICE_LOGPROBS,
    CHOICE_TOKEN_IDS,
    EPISODE_ID,
    POLICY_VERSION,
    PROMPT_NAME,
    PROMPT_TOKEN_IDS,
    PROMPT_VERSION,
    TASK_ID,
)
from serve.admission import Admission, Serving
from serve.evidence.spans import Policy
from serve.gateway.access import Access
from serve.gateway.assignment import Split
from serve.gateway.turn import PROMPT_HEADER, VERSION_HEADER
from serve.prompts import registry
from serve.prompts.loading import open_prompting
from tests.gateway import ANSWER, USER, Bench, run
from tests.serving import CardboardEngine, write_keys


def test_a_canary_answers_its_share_and_nobody_is_turned_away_when_it_cannot() -> None:
    """Each user keeps an arm, named on the span with a hash and no name; without its engine the live model answers."""

    async def scenario(one: Bench) -> None:
        async with CardboardEngine().running() as other:
            other.answer = ANSWER
            one.gateway.split = Split(Admission(), 0.5, "salt")
            one.gateway.split.admission.begin(Serving(other, "b+v2.1", Policy("v2", None, None)))  # type: ignore[arg-type]
            seen = {}
            for user in [f"user-{number}" for number in range(12)] * 2:
                _, _, response = await one.ask(user=user)
                version = response.headers[VERSION_HEADER]
                assert seen.setdefault(user, version) == version
            assert set(seen.values()) == {"v1", "v2"}
            assert {asked["model"] for asked in other.asked} == {"b+v2.1"}
            found = [dict(span.attributes or {}) for span in await one.spans(24)]
            assert {(each[CANARY_ARM], each[POLICY_VERSION]) for each in found} == {("live", "v1"), ("canary", "v2")}
            assert len({each[CANARY_UNIT] for each in found}) == 12
            assert "user-" not in str(found)

            other.runs = False
            versions = {(await one.ask(user=user))[2].headers[VERSION_HEADER] for user in seen}
            assert versions == {"v1"}
            unjudged = [dict(span.attributes or {}) for span in (await one.spans(36))[24:]]
            assert sum(CANARY_ARM not in each for each in unjudged) == list(seen.values()).count("v2")

    run(scenario)


def test_the_client_gets_what_it_asked_for_and_the_span_the_rest() -> None:
    """Ids and log-probabilities go to the span only; the answer names the policy that made it."""

    async def scenario(one: Bench) -> None:
        status, answer, response = await one.ask()

        assert status == 200
        choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "logprobs": None}
        assert answer == {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": "base",
            "choices": [{**choice, "finish_reason": "stop"}],
        }
        assert response.headers[VERSION_HEADER] == "v1"
        (span,) = await one.spans()
        assert span.attributes is not None
        assert span.attributes[PROMPT_TOKEN_IDS] == (1, 2)
        assert span.attributes[CHOICE_TOKEN_IDS.format(index=0)] == (7,)
        assert span.attributes[CHOICE_LOGPROBS.format(index=0)] == (-0.5,)
        assert span.attributes[POLICY_VERSION] == "v1"

    run(scenario)


def test_the_engine_is_asked_for_evidence_and_given_every_sampling_parameter() -> None:
    """What the client named stays; what it did not is named for it."""

    async def scenario(one: Bench) -> None:
        await one.ask(temperature=0.5, tools=[{"type": "function", "function": {"name": "f"}}], unknown_extra=1)

        (asked,) = one.engine.asked
        assert asked == {
            "model": "base",
            "messages": USER,
            "temperature": 0.5,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "unknown_extra": 1,
            "logprobs": True,
            "return_token_ids": True,
        }

    run(scenario)


def test_what_the_client_did_ask_for_stays() -> None:
    """Token ids and log-probabilities on request, as vLLM gives them."""

    async def scenario(one: Bench) -> None:
        _, answer, _ = await one.ask(logprobs=True, return_token_ids=True)

        assert answer == ANSWER

    run(scenario)


def test_while_no_engine_is_ready_calls_can_be_retried() -> None:
    """503 with Retry-After; readiness says the same, liveness does not mind."""

    async def scenario(one: Bench) -> None:
        one.gateway.admission.suspend()

        status, answer, response = await one.ask()

        assert status == 503
        assert "Retry-After" in response.headers
        assert answer["error"]["type"] == "server_error"
        async with one.client.get(f"{one.url}/readyz") as ready, one.client.get(f"{one.url}/healthz") as alive:
            assert (ready.status, alive.status) == (503, 200)

    run(scenario)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"model": "other"}, 404),
        ({"model": ["base"]}, 404),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/"}}]}
                ]
            },
            400,
        ),
        ({"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": "file:///etc/passwd"}]}]}, 400),
    ],
)
def test_what_the_gateway_refuses_never_reaches_the_engine(request_: dict[str, Any], status: int) -> None:
    """Unknown models and URLs somebody inside our network would have to fetch."""

    async def scenario(one: Bench) -> None:
        got, answer, _ = await one.ask(**request_)

        assert got == status
        assert answer["error"]["code"] == ("model_not_found" if status == 404 else None)
        assert answer["error"]["type"] == "invalid_request_error"
        assert one.engine.asked == []

    run(scenario)


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/v1", {"x-spanloop-episode": "e1", "x-spanloop-agent": "planner", "x-spanloop-task": "t"}, "e1 planner t"),
        ("/episode/e%2F1/agent/planner/v1", {}, "e/1 planner None"),
        ("/episode/e1/v1", {"x-spanloop-agent": "a"}, "e1 a None"),
        ("/agent/planner/v1", {}, "None planner None"),
    ],
)
def test_a_base_url_or_headers_say_who_asks(path: str, headers: dict[str, str], expected: str) -> None:
    """For agents without instrumentation: the span says what their own spans would have said."""

    async def scenario(one: Bench) -> None:
        status, _, _ = await one.post(f"{path}/chat/completions", {"model": "base", "messages": USER}, **headers)

        assert status == 200
        (span,) = await one.spans()
        assert span.attributes is not None
        found = [span.attributes.get(name) for name in (EPISODE_ID, AGENT_NAME, TASK_ID)]
        assert " ".join(map(str, found)) == expected

    run(scenario)


def test_media_of_an_allowed_domain_pass() -> None:
    """Whatever API names them, and of no other domain; `server_url` is a server the engine would call."""
    image = {"type": "input_image", "image_url": "https://media.example/a.png"}
    requests = [{"input": [{"role": "user", "content": [image]}]}, {"input": [{"type": "x", "output": [image]}]}]
    server = {"type": "mcp", "server_url": "https://media.example/"}

    async def scenario(one: Bench) -> None:
        for request in requests:
            assert (await one.ask("responses", **request))[0] == 400
        assert one.engine.asked == []
        one.gateway.media_domains = frozenset({"media.example"})
        for request in requests:
            assert (await one.ask("responses", **request))[0] == 200
        status, answer, _ = await one.ask("responses", input="a", tools=[server])
        assert (status, "tools[0]" in answer["error"]["message"]) == (400, True)

    run(scenario)


def test_a_name_that_could_not_be_one_is_refused() -> None:
    """400, before the engine hears of it."""

    async def scenario(one: Bench) -> None:
        body = {"model": "base", "messages": USER}
        status, _, _ = await one.post("/v1/chat/completions", body, **{"x-spanloop-episode": "e" * 257})

        assert status == 400
        assert one.engine.asked == []

    run(scenario)


def test_embeddings_pass_through() -> None:
    """Under the engine's own name of the model, and back as they came."""

    async def scenario(one: Bench) -> None:
        one.engine.answer = {"data": [{"embedding": [0.5]}]}
        status, answer, response = await one.post("/v1/embeddings", {"model": "base:live", "input": "a"})

        assert (status, answer) == (200, one.engine.answer)
        assert response.headers[VERSION_HEADER] == "v1"
        assert one.engine.asked == [{"model": "base", "input": "a"}]

    run(scenario)


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_leaves_evidence_too(stream: bool) -> None:
    """The Responses API, whole and streamed: ids and log-probabilities to the span, events keep their names."""
    part = {"type": "output_text", "text": "hi", "logprobs": [{"token": "hi", "logprob": -0.5}]}
    whole = {
        "id": "resp_1",
        "object": "response",
        "output": [{"type": "message", "content": [part]}],
        "input_messages": [{"type": "raw_message_tokens", "tokens": [1, 2]}],
        "output_messages": [{"type": "raw_message_tokens", "tokens": [7]}],
    }

    async def scenario(one: Bench) -> None:
        last = json.dumps({"type": "response.completed", "response": whole})
        one.engine.answer, one.engine.events = whole, [f"event: response.completed\ndata: {last}\n\n".encode()]
        status, answer, _ = await one.post("/v1/responses", {"model": "base", "input": "a", "stream": stream})

        assert status == 200
        if stream:
            head, _, data = answer.partition(b"data: ")
            assert head == b"event: response.completed\n"
            answer = json.loads(data)["response"]
        assert answer["output"] == [{"type": "message", "content": [{**part, "logprobs": None}]}]
        assert answer["output_messages"] is None
        (span,) = await one.spans()
        assert span.attributes is not None
        assert span.attributes[PROMPT_TOKEN_IDS] == (1, 2)
        assert span.attributes[CHOICE_TOKEN_IDS.format(index=0)] == (7,)
        assert span.attributes[CHOICE_LOGPROBS.format(index=0)] == (-0.5,)
        assert span.attributes["gen_ai.response.id"] == "resp_1"

    run(scenario)


def test_tools_are_not_forced_unless_asked_for() -> None:
    """`strict` would have the engine cut the distribution; frameworks set it on every tool by default."""

    async def scenario(one: Bench) -> None:
        tools = [{"type": "function", "function": {"name": "f", "strict": True}}]
        await one.ask(tools=tools)
        one.gateway.strict_tools = True
        await one.ask(tools=tools)

        assert [asked["tools"][0]["function"] for asked in one.engine.asked] == [
            {"name": "f"},
            {"name": "f", "strict": True},
        ]

    run(scenario)


def test_a_body_that_is_no_json_is_refused() -> None:
    """400 in OpenAI's shape."""

    async def scenario(one: Bench) -> None:
        async with one.client.post(f"{one.url}/v1/completions", data=b"{") as response:
            assert response.status == 400
            assert (await response.json())["error"]["type"] == "invalid_request_error"

    run(scenario)


def test_models_lists_the_alias_first() -> None:
    """Agents are to use the alias; the bare name works too."""

    async def scenario(one: Bench) -> None:
        async with one.client.get(f"{one.url}/v1/models") as response:
            assert [model["id"] for model in (await response.json())["data"]] == ["base:live", "base"]

    run(scenario)


def test_a_name_that_stands_in_agents_code_means_the_live_model() -> None:
    """Asked by an alias, the engine answers by its own name for the model; others stay unknown."""

    async def scenario(one: Bench) -> None:
        one.gateway.aliases = ("big-1",)

        status, _, _ = await one.ask(model="big-1")

        assert (status, one.engine.asked[0]["model"]) == (200, "base")
        (span,) = await one.spans()
        assert span.attributes is not None
        assert span.attributes["gen_ai.request.model"] == "big-1"
        async with one.client.get(f"{one.url}/v1/models/big-1") as shown:
            assert (await shown.json())["id"] == "big-1"
        assert (await one.ask(model="big-2"))[0] == 404

    run(scenario)


def test_a_call_without_a_key_is_turned_away(tmp_path: Path) -> None:
    """401 in OpenAI's shape, before the body is read; whoever probes for health needs no key."""

    async def scenario(one: Bench) -> None:
        (key,) = write_keys(tmp_path, a1=["serve"]).values()
        one.gateway.entrance.access = Access(tmp_path)

        status, answer, _ = await one.ask()
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        assert one.engine.asked == []
        body = {"model": "base", "messages": USER}
        assert (await one.post("/v1/chat/completions", body, Authorization=f"Bearer {key}"))[0] == 200
        (span,) = await one.spans()
        assert span.attributes is not None
        assert span.attributes[CALLER_PROJECT] == "p"
        assert key not in str(dict(span.attributes))
        async with one.client.get(f"{one.url}/readyz") as ready:
            assert ready.status == 200

    run(scenario)


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": ["hello"]},
        {"messages": "hello"},
        {"tools": "abc"},
        {"tools": [5]},
        {"stream_options": "x"},
        {"response_format": "json"},
        {"stop": [1, "a"]},
        {"include": 5, "input": 5, "instructions": 5},
        {"text": 5, "tools": {"a": 1}},
        {"metadata": [[]], "user": {"a": []}},
    ],
)
@pytest.mark.parametrize("path", ["chat/completions", "completions", "responses"])
def test_odd_requests_are_passed_on_or_refused_and_cost_one_span_at_most(path: str, request_: dict[str, Any]) -> None:
    """What they are worth is the engine's to say; nothing of them breaks the gateway."""

    async def scenario(one: Bench) -> None:
        status, _, response = await one.ask(path, **request_)

        assert status in (200, 400)
        assert response.headers["x-request-id"]
        assert (await one.ask())[0] == 200

    run(scenario)


def test_half_an_emoji_is_answered() -> None:
    """JavaScript wrote it; the engine gets what the half reads as, and the rest as it is."""

    async def scenario(one: Bench) -> None:
        body = b'{"model": "base", "messages": [{"role": "user", "content": "cut \\ud83d here"}]}'
        async with one.client.post(f"{one.url}/v1/chat/completions", data=body) as response:
            assert response.status == 200
        assert one.engine.asked[0]["messages"][0]["content"] == "cut \ufffd here"

    run(scenario)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"a": ' + b"[" * 1000 + b"]" * 1000 + b"}", b"\xff", b'{"a": NaN}'])
def test_what_is_no_request_is_refused_as_json(body: bytes) -> None:
    """Broken, no object, nested beyond reason: 400 and nothing reaches the engine."""

    async def scenario(one: Bench) -> None:
        async with one.client.post(f"{one.url}/v1/chat/completions", data=body) as response:
            assert response.status == 400
            assert (await response.json())["error"]["type"] == "invalid_request_error"
        assert one.engine.asked == []

    run(scenario)


def test_answers_name_their_request_and_their_trace() -> None:
    """A client's own id comes back; the trace is what a reward given later names."""

    async def scenario(one: Bench) -> None:
        for stream in (False, True):
            _, _, response = await one.post(
                "/v1/chat/completions",
                {"model": "base", "messages": USER, "stream": stream},
                **{"x-request-id": "mine"},
            )
            assert response.headers["x-request-id"] == "mine"
            span = (await one.spans(1 + stream))[-1]
            assert span.context is not None
            assert response.headers["x-spanloop-trace-id"] == f"{span.context.trace_id:032x}"

    run(scenario)


def test_what_clients_and_supervisors_ask_beside_calls() -> None:
    """One model by its name, health, version and metrics, as OpenAI and vLLM have them; all in JSON."""

    async def scenario(one: Bench) -> None:
        async def get(path: str) -> tuple[int, str]:
            async with one.client.get(one.url + path) as response:
                return response.status, await response.text()

        assert json.loads((await get("/v1/models/base:live"))[1])["id"] == "base:live"
        status, missing = await get("/v1/models/other")
        assert (status, json.loads(missing)["error"]["code"]) == (404, "model_not_found")
        assert (await get("/health"))[0] == 200
        assert json.loads((await get("/version"))[1])["version"]
        assert (await get("/v1/nothing"))[0] == 404
        assert json.loads((await get("/v1/nothing"))[1])["error"]["message"]
        await one.ask()
        await one.spans()
        text = (await get("/metrics"))[1]
        assert 'spanloop_gateway_requests_total{http_route="/v1/chat/completions",error_type="none"} 1' in text
        assert 'spanloop_policy{arm="live",version="v1"} 1' in text
        assert "gen_ai_server_request_duration_seconds_count 1" in text

    run(scenario)


def test_pages_of_other_origins_and_other_names_of_this_machine_are_refused() -> None:
    """Loopback without keys is open to programs, not to whatever page the browser shows."""

    async def scenario(one: Bench) -> None:
        body = {"model": "base", "messages": USER}
        assert (await one.post("/v1/chat/completions", body, Origin="https://evil.example"))[0] == 403
        assert (await one.post("/v1/chat/completions", body, Host="evil.example"))[0] == 403
        assert one.engine.asked == []

    run(scenario)


def test_what_a_replay_asks_is_marked() -> None:
    """It is no traffic: a header says so, and the span passes it on."""

    async def scenario(one: Bench) -> None:
        await one.post("/v1/chat/completions", {"model": "base", "messages": USER}, **{"x-spanloop-replay": "r1"})

        (span,) = await one.spans()
        assert span.attributes is not None
        assert span.attributes["spanloop.replay"] == "r1"

    run(scenario)


def test_a_call_is_answered_under_the_version_of_its_agents_prompt_and_its_span_says_so(tmp_path: Path) -> None:
    """Weights and prompt together answered: the engine saw the version's text, so does the record; a replay is left."""
    own, better = {"role": "system", "content": "Be kind."}, {"role": "system", "content": "Be kinder."}
    registry.keep(tmp_path, "solver", "Be kinder.", base="Be kind.")
    registry.promote(tmp_path, "solver", 1)

    async def scenario(one: Bench) -> None:
        one.gateway.prompting = open_prompting(tmp_path)
        _, _, response = await one.ask(messages=[own, *USER])
        await one.ask(messages=USER)
        body = {"model": "base", "messages": [own, *USER]}
        await one.post("/v1/chat/completions", body, **{"x-spanloop-replay": "r1"})

        assert [asked["messages"][0] for asked in one.engine.asked] == [better, USER[0], own]
        assert response.headers[PROMPT_HEADER] == "1"
        first, *others = [dict(span.attributes or {}) for span in await one.spans(3)]
        assert (first[PROMPT_NAME], first[PROMPT_VERSION], first[POLICY_VERSION]) == ("solver", "1", "v1")
        assert "Be kinder." in first["gen_ai.input.messages"]
        assert not [each for each in others if PROMPT_VERSION in each]

    run(scenario)
