"""What a model saw, where its request holds only what is new."""

import json
from collections.abc import Collection
from typing import Any

import pytest

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import Span, identifier, llm, logs_frame, spans_frame

SYSTEM = [{"type": "text", "content": "You are the shop's assistant."}]
ASK = {"type": "tool_call", "id": "k", "name": "lookup", "arguments": {"order": 4711}}
RESULT = {"type": "tool_call_response", "id": "k", "response": "ships Monday"}


def turn(role: str, *parts: Any) -> dict[str, Any]:
    """Return a message in the conventions' shape; texts are parts."""
    return {"role": role, "parts": [{"type": "text", "content": p} if isinstance(p, str) else p for p in parts]}


def response(name: str, *asked: dict[str, Any], said: Any = "Noted.", previous: str | None = None, **rest: Any) -> Span:
    """Return a call of the Responses API that continues another."""
    fields: dict[str, Any] = {
        "gen_ai.input.messages": json.dumps(asked),
        "gen_ai.output.messages": json.dumps([turn("assistant", said) | {"finish_reason": "stop"}]),
        **rest.pop("attributes", {}),
    }
    if previous is not None:
        fields[rest.pop("named", "gen_ai.openai.request.previous_response_id")] = previous
    rest.pop("named", None)
    return llm(name, response_id=f"resp_{name}", attributes=fields, **rest)


def run(*spans: Span, stored: Any = None) -> Dataset:
    """Run the ETL, taking every trace as complete."""
    return transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0), stored=stored)


def shown(dataset: Dataset, name: str) -> list[tuple[str, str | None]]:
    """Return role and text of what a call was shown."""
    rows = dataset.tables["transitions"].to_dicts()
    row = next(row for row in rows if row["span_id"] == identifier(name, 16))
    return [(message["role"], message["text"]) for message in json.loads(row["observation"])]


def chain(**rest: Any) -> list[Span]:
    """Return three calls in traces of their own, each continuing the one before."""
    told = {"attributes": {"gen_ai.system_instructions": json.dumps(SYSTEM)}}
    return [
        response("a", turn("user", "I am Zora."), trace="1", start=0, end=1, **told, **rest),
        response("b", turn("user", "When?"), said=ASK, previous="resp_a", trace="2", start=2, end=3, **told, **rest),
        response(
            "c", turn("tool", RESULT), said="Monday.", previous="resp_b", trace="3", start=4, end=5, **told, **rest
        ),
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_a_history_is_put_together_from_the_responses_it_continues(order: tuple[int, ...]) -> None:
    """Over traces, however they came; the instructions once."""
    spans = chain()

    dataset = run(*(spans[number] for number in order))

    assert shown(dataset, "c") == [
        ("system", "You are the shop's assistant."),
        ("user", "I am Zora."),
        ("assistant", "Noted."),
        ("user", "When?"),
        ("assistant", None),
        ("tool", "ships Monday"),
    ]


def test_instructions_end_with_their_response() -> None:
    """The API carries input and output on, and no instructions."""
    first, second, _ = chain()
    second = response("b", turn("user", "When?"), previous="resp_a", trace="2", start=2, end=3)

    assert shown(run(first, second), "b") == [("user", "I am Zora."), ("assistant", "Noted."), ("user", "When?")]


def test_without_the_response_before_there_is_no_observation() -> None:
    """Nor for what continues it."""
    dataset = run(*chain()[1:])

    assert dataset.tables["transitions"].height == 0
    assert dataset.tables["rejected"]["reason"].to_list() == ["history_not_at_hand"] * 2


def test_an_incomplete_response_is_no_history() -> None:
    """What was lost of it is missing in all that continues it."""
    first, *rest = chain()
    fields = json.loads(first["attributes"])
    first["attributes"] = json.dumps(fields | {"gen_ai.input.messages": json.dumps([turn("tool", RESULT)])})

    assert set(run(first, *rest).tables["rejected"]["reason"]) == {"result_without_call", "history_not_at_hand"}


def test_published_responses_are_at_hand() -> None:
    """Of runs before, whether their spans are still there or not."""
    asked: list[Any] = []

    class Stored:
        def responses(self, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
            asked.extend(wanted)
            history = [{"role": "user", "text": "I am Zora."}, {"role": "assistant", "text": "Noted."}]
            return {("default", "resp_a"): history}

    dataset = run(*chain()[1:], stored=Stored())

    assert asked == [("default", "resp_a")]
    assert [role for role, _ in shown(dataset, "c")] == ["system", "user", "assistant", "user", "assistant", "tool"]


def test_published_instructions_end_with_their_response() -> None:
    """A published history does not say whether its system message stood apart: where it matters, it is none."""

    class Stored:
        def responses(self, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
            known = [{"role": "system", "text": "Be brief."}, {"role": "user", "text": "I am Zora."}]
            return {key: [*known, {"role": "assistant", "text": "Noted."}] for key in wanted}

    same = {"attributes": {"gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}])}}
    silent = response("b", turn("user", "When?"), previous="resp_a")
    instructed = response("b", turn("user", "When?"), previous="resp_a", **same)

    assert run(silent, stored=Stored()).tables["rejected"]["reason"].to_list() == ["history_not_at_hand"]
    assert [role for role, _ in shown(run(instructed, stored=Stored()), "b")] == ["system", "user", "assistant", "user"]


def test_a_request_that_holds_its_history_stays() -> None:
    """Some recorders write all of it, id or not."""
    first = response("a", turn("user", "I am Zora."), start=0, end=1)
    asked = [turn("user", "I am Zora."), turn("assistant", "Noted."), turn("user", "When?")]
    second = response("b", *asked, previous="resp_a", start=2, end=3)

    assert len(shown(run(first, second), "b")) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"llm.invocation_parameters": json.dumps({"previous_response_id": "resp_gone"})},
        {"input.value": json.dumps({"model": "m", "input": "hi", "previous_response_id": "resp_gone"})},
        {"request": json.dumps({"body": {"previousResponseId": "resp_gone"}})},
        {"input.value": json.dumps({"model": "m", "input": "hi", "conversation": {"id": "conv_1"}})},
    ],
)
def test_whoever_names_a_history_that_is_elsewhere(fields: dict[str, str]) -> None:
    """By whichever attribute."""
    assert run(llm("a", attributes=fields)).tables["rejected"]["reason"].to_list() == ["history_not_at_hand"]


def test_the_conventions_name_of_what_a_request_continues_is_known() -> None:
    """It ends in `previous_response.id`; a request of which it was missed would pass for the whole conversation."""
    spans = chain(named="gen_ai.request.previous_response.id")

    assert shown(run(*spans), "b")[1:] == [("user", "I am Zora."), ("assistant", "Noted."), ("user", "When?")]
    assert run(*spans[1:]).tables["transitions"].is_empty()
