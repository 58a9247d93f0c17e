"""A hosted model behind the student: a scripted OpenAI server, asked over a real socket."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from otel_exporter import schema as names
from serve.admission import Admission, Serving
from serve.evidence.spans import Policy
from serve.fallback.checks import ALL, Check, Checks
from serve.fallback.hosted import open_hosted
from serve.gateway.assignment import Split
from serve.gateway.second import Second
from serve.gateway.turn import ANSWERED_BY_HEADER, VERSION_HEADER
from tests.gateway import ANSWER, STREAM, Bench, event, run
from tests.model_server import PIECES, TEXT, ModelServer, model_server
from tests.serving import CardboardEngine

KEY = "sk-never-shown"
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "required": ["a"]}}}


@contextlib.asynccontextmanager
async def behind(one: Bench, *checks: Check, **settings: Any) -> AsyncIterator[ModelServer]:
    with model_server() as server:
        one.gateway.second = Second(open_hosted(server.url, "big-1", KEY), Checks(checks), **settings)
        try:
            yield server
        finally:
            await one.gateway.second.close()


def said(content: str = "hi", *, logprob: float = -0.5, **message: Any) -> dict[str, Any]:
    """Return an answer of the student's."""
    (choice,) = ANSWER["choices"]
    logprobs = {"content": [{"token": "x", "logprob": logprob, "bytes": [], "top_logprobs": []}]}
    return ANSWER | {
        "choices": [choice | {"message": {"role": "assistant", "content": content, **message}, "logprobs": logprobs}]
    }


def called(name: str, arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}]}


async def last_span(one: Bench, count: int = 1) -> dict[str, Any]:
    return dict((await one.spans(count))[-1].attributes or {})


def test_a_student_that_can_answer_does() -> None:
    """The hosted model hears of nothing; header and span say who answered, with all the evidence."""

    async def scenario(one: Bench) -> None:
        async with behind(one, *ALL) as server:
            status, answer, response = await one.ask()

            assert (status, answer["model"], server.asked) == (200, "base", [])
            assert (response.headers[ANSWERED_BY_HEADER], response.headers[VERSION_HEADER]) == ("student", "v1")
            span = await last_span(one)
            assert span[names.ANSWERED_BY] == "student"
            assert names.FALLBACK_REASON not in span
            assert (span[names.POLICY_VERSION], span[names.PROMPT_TOKEN_IDS]) == ("v1", (1, 2))

    run(scenario)


@pytest.mark.parametrize("stream", [False, True])
def test_a_student_that_is_away_is_answered_for(stream: bool) -> None:
    """Starting, or dead: the client gets the hosted model's answer, and its span claims nothing of the student's."""

    async def scenario(one: Bench) -> None:
        async with behind(one) as server:
            one.gateway.admission.suspend()
            status, answer, response = await one.ask(stream=stream, min_p=0.1, temperature=0.5)

            assert status == 200
            assert PIECES[0] in json.dumps(answer if not stream else answer.decode(), ensure_ascii=False)
            assert response.headers[ANSWERED_BY_HEADER] == "hosted"
            assert VERSION_HEADER not in response.headers
            (asked,) = server.asked
            assert asked["path"] == "/v1/chat/completions"
            assert asked["headers"]["Authorization"] == f"Bearer {KEY}"
            assert asked["body"]["model"] == "big-1"
            assert not {"min_p", "return_token_ids", "logprobs", "top_k", "top_p"} & set(asked["body"])
            span = await last_span(one)
            assert (span[names.ANSWERED_BY], span[names.FALLBACK_REASON]) == ("hosted", "away")
            assert (span["gen_ai.request.model"], span["gen_ai.response.model"]) == ("big-1", "scripted-1")
            assert not [name for name in span if "token_ids" in name or "logprobs" in name or "policy" in name]
            assert KEY not in str(span)
            ready = await one.client.get(f"{one.url}/readyz")
            assert ready.status == 200
            metrics = await (await one.client.get(f"{one.url}/metrics")).text()
            assert 'spanloop_gateway_fallback_total{reason="away"} 1' in metrics

    run(scenario)


@pytest.mark.parametrize("path", ["completions", "responses"])
def test_every_api_goes_on(path: str) -> None:
    """What the hosted model's other APIs answer is recorded as its chat is, with the tokens it counted."""

    async def scenario(one: Bench) -> None:
        async with behind(one) as server:
            one.gateway.admission.suspend()
            body = {"model": "base", "prompt": "a"} if path == "completions" else {"model": "base", "input": "a"}
            status, _, _ = await one.post(f"/v1/{path}", body)

            assert (status, server.asked[0]["path"]) == (200, f"/v1/{path}")
            span = await last_span(one)
            assert (span["gen_ai.usage.input_tokens"], span["gen_ai.usage.output_tokens"]) == (5, 7)
            assert TEXT in json.loads(span["gen_ai.output.messages"])[0]["parts"][0]["content"]

    run(scenario)


@pytest.mark.parametrize("fault", ["lost", "status", "late", "too_long"])
def test_a_student_that_fails_is_answered_for(fault: str) -> None:
    """Its connections break, its engine errs, it takes too long, or the prompt does not fit: nobody is turned away."""

    async def scenario(one: Bench) -> None:
        async with behind(one, patience_s=0.05 if fault == "late" else None):
            match fault:
                case "lost":
                    one.engine.num_to_lose = 99
                case "status":
                    one.engine.status, one.engine.answer = 500, {"error": {"message": "m"}}
                case "late":
                    one.engine.hold.clear()
                case "too_long":
                    said = "This model's maximum context length is 9 tokens."
                    one.engine.status, one.engine.answer = 400, {"error": {"message": said}}
            status, _, response = await one.ask()

            assert (status, response.headers[ANSWERED_BY_HEADER]) == (200, "hosted")
            reason = {"lost": "away", "late": "away", "status": "failed", "too_long": "too_long"}[fault]
            assert (await last_span(one))[names.FALLBACK_REASON] == reason
            one.engine.hold.set()

    run(scenario)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("check", "answer"),
    [
        ("unparsed", said("<tool_call>{")),
        ("schema", said("", **called("add", '{"b": 1}'))),
        ("schema", said("", **called("subtract", "{}"))),
        ("schema", said("", **called("add", '{"a": '))),
        ("refusal", said("I'm sorry, but I can't help with that.")),
        ("refusal", said("", refusal="No.")),
        ("improbable", said("hm", logprob=-5.0)),
    ],
)
def test_an_answer_that_fails_a_check_is_not_sent(check: Check, answer: dict[str, Any], stream: bool) -> None:
    """Nothing of it reaches the client, streamed or not, and its ids are no evidence of what the agent saw."""

    async def scenario(one: Bench) -> None:
        one.engine.answer = answer
        (choice,) = answer["choices"]
        chunk = {"index": 0, "delta": choice["message"], "token_ids": [7], "logprobs": choice["logprobs"]}
        one.engine.events = [b"data: " + json.dumps({"id": "x", "choices": [chunk]}).encode() + b"\n\n"]
        async with behind(one, check):
            _, got, response = await one.ask(stream=stream, tools=[TOOL])

            assert response.headers[ANSWERED_BY_HEADER] == "hosted"
            assert PIECES[0] in json.dumps(got if not stream else got.decode(), ensure_ascii=False)
            span = await last_span(one)
            assert (span[names.FALLBACK_REASON], names.POLICY_VERSION in span) == (check, False)
            assert len(one.memory.get_finished_spans()) == 1
            one.gateway.second.checks = Checks()  # type: ignore[union-attr]
            assert (await one.ask(stream=stream, tools=[TOOL]))[2].headers[ANSWERED_BY_HEADER] == "student"

    run(scenario)


def test_what_neither_can_answer_ends_as_it_would_have() -> None:
    """A refused answer is better than none; without one it is 503, and of the request's own faults the client hears."""

    async def scenario(one: Bench) -> None:
        async with behind(one, "refusal") as server:
            server.failures = 99
            one.engine.answer = said("I cannot do that.")
            status, answer, response = await one.ask()
            assert (status, response.headers[ANSWERED_BY_HEADER]) == (200, "student")
            assert answer["choices"][0]["message"]["content"] == "I cannot do that."
            span = await last_span(one)
            assert (span[names.ANSWERED_BY], span[names.POLICY_VERSION], "error.type" in span) == (
                "student",
                "v1",
                False,
            )

            one.gateway.admission.suspend()
            status, _, response = await one.ask()
            assert (status, "Retry-After" in response.headers) == (503, True)

    run(scenario)


def test_a_stream_that_began_is_not_begun_again() -> None:
    """Half an answer of one and half of another would be neither's: the client is told that it broke off."""

    async def scenario(one: Bench) -> None:
        one.engine.events, one.engine.breaks_off = STREAM[:1], True
        async with behind(one) as server:
            _, content, _ = await one.ask(stream=True)
            assert b'"error"' in content
            assert server.asked == []

    run(scenario)


def test_a_stream_that_is_held_survives_the_engine() -> None:
    """It breaks off before anything of it was sent."""

    async def scenario(one: Bench) -> None:
        one.engine.events, one.engine.breaks_off = [event(7, {"content": "a"})], True
        async with behind(one, "refusal"):
            _, content, response = await one.ask(stream=True)
            assert (response.headers[ANSWERED_BY_HEADER], b'"error"' in content) == ("hosted", False)

    run(scenario)


def test_a_share_stays_with_the_hosted_model_by_user() -> None:
    """Each user always has the same one; a hosted model that fails leaves its users to the student."""

    async def scenario(one: Bench) -> None:
        async with behind(one, share=0.5) as server:
            users = [f"user-{number}" for number in range(12)]
            first = {user: (await one.ask(user=user))[2].headers[ANSWERED_BY_HEADER] for user in users}
            again = {user: (await one.ask(user=user))[2].headers[ANSWERED_BY_HEADER] for user in users}
            assert first == again
            assert set(first.values()) == {"student", "hosted"}
            server.failures = 99
            left = {user: (await one.ask(user=user))[2].headers[ANSWERED_BY_HEADER] for user in users}
            assert set(left.values()) == {"student"}

    run(scenario)


def test_an_answer_of_the_hosted_model_is_no_merit_of_a_canary() -> None:
    """Where a canary's engine errs and the hosted model answers, the span names no arm."""

    async def scenario(one: Bench) -> None:
        async with CardboardEngine().running() as other, behind(one):
            other.status, other.answer = 500, {"error": {"message": "m"}}
            one.gateway.split = Split(Admission(), 1.0, "salt")
            one.gateway.split.admission.begin(Serving(other, "b+v2", Policy("v2", None, None)))  # type: ignore[arg-type]
            _, _, response = await one.ask()
            assert response.headers[ANSWERED_BY_HEADER] == "hosted"
            span = await last_span(one)
            assert not {names.CANARY_ARM, names.CANARY_UNIT, names.POLICY_VERSION} & set(span)

    run(scenario)


def test_while_users_are_handed_over_every_span_names_its_arm() -> None:
    """By whom the user was to be answered, also where the other one had to; the user's name is nowhere."""

    async def scenario(one: Bench) -> None:
        async with behind(one, share=0.5, salt="begun"):
            users = [f"user-{number}" for number in range(12)]
            by = {user: (await one.ask(user=user))[2].headers[ANSWERED_BY_HEADER] for user in users}
            one.gateway.admission.suspend()
            for user in users:
                await one.ask(user=user)
            found = [dict(span.attributes or {}) for span in await one.spans(24)]
            arms = [{"hosted": "live", "student": "canary"}[by[user]] for user in users]
            assert [each[names.HANDOVER_ARM] for each in found] == [*arms, *arms]
            assert {each[names.ANSWERED_BY] for each in found[12:]} == {"hosted"}
            assert len({each[names.HANDOVER_UNIT] for each in found}) == 12
            assert "user-" not in str(found)

    run(scenario)
