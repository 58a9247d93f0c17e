"""The action is the choice that was gone on from, with its ids and log-probabilities."""

import json
from typing import Any

import pytest

from etl.rewards.combine import recombine
from etl.settings import EtlConfig
from etl.tables import IS_TAKEN, Dataset
from etl.transform import transform
from otel_exporter import schema as names
from tests.spans import Span, evaluation, gateway, llm, logs_frame, span, spans_frame, tool

PLANS = ["Plan one: walk.", "Plan two: fly.", "Plan three: stay."]


def choices(**rest: Any) -> dict[str, Any]:
    """Return the attributes of an answer with three choices, the last of which asks for a tool."""
    parts: list[list[dict[str, Any]]] = [[{"type": "text", "content": text}] for text in PLANS]
    parts[2].append({"type": "tool_call", "id": "k", "name": "book", "arguments": {}})
    answers = [{"role": "assistant", "parts": own, "finish_reason": "stop"} for own in parts]
    return {"gen_ai.output.messages": json.dumps(answers), "gen_ai.request.choice.count": 3, **rest}


def run(*spans: Span) -> Dataset:
    """Run the ETL over one episode."""
    return transform(spans_frame([span("root", end=60), *spans]), logs_frame(), EtlConfig(complete_after=0))


def following(*turns: tuple[str, str]) -> Span:
    """Return the next call of the agent."""
    return llm("next", parent="root", start=5, end=6, asked=[*turns, ("user", "Go on.")], said="Booked.")


@pytest.mark.parametrize("used", [0, 1])
def test_the_choice_that_the_next_request_holds_is_the_action(used: int) -> None:
    """As a message of the history, or as words the agent passed on; nothing was wasted."""
    first = llm("first", parent="root", attributes=choices())
    within = f"Somebody suggests: {PLANS[used]} Is that good?"
    for turns in ([("user", "hi"), ("assistant", PLANS[used])], [("user", PLANS[used])], [("user", within)]):
        dataset = run(first, following(*turns))

        row = dataset.tables["transitions"].sort("step").row(0, named=True)
        assert json.loads(row["action"])["text"] == PLANS[used]
        assert json.loads(row["signals"])["waste"] == 0.0
        assert dataset.tables["llm_calls"]["choice"].to_list() == [used, 0]


def test_the_choice_whose_tool_ran_is_the_action() -> None:
    """Nothing else tells; where the execution has no id, its name and arguments do."""
    first = llm("first", parent="root", attributes=choices())
    for known in ({"call_id": "k"}, {"arguments": {}}):
        ran = tool("ran", parent="root", tool_name="book", start=3, end=4, **known)

        dataset = run(first, ran)

        assert json.loads(dataset.tables["transitions"]["action"][0])["text"] == PLANS[2]


def test_without_a_trace_of_any_the_first_choice_is_the_action() -> None:
    """As a client reads it."""
    dataset = run(llm("first", parent="root", attributes=choices()))

    assert json.loads(dataset.tables["transitions"]["action"][0])["text"] == PLANS[0]


def test_the_ids_are_those_of_the_choice() -> None:
    """The gateway records every choice's."""
    recorded = {
        names.PROMPT_TOKEN_IDS: [1, 2],
        names.CHOICE_TOKEN_IDS.format(index=1): [7, 8, 9],
        names.CHOICE_LOGPROBS.format(index=1): [-0.5, -0.25, -1.0],
    }
    first = gateway("first", parent="root")
    first["attributes"] = json.dumps(json.loads(first["attributes"]) | choices(**recorded))

    rows = run(first, following(("user", "hi"), ("assistant", PLANS[1]))).tables["transitions"].sort("step")
    unknown = run(first, following(("user", "hi"), ("assistant", PLANS[2]))).tables["transitions"].sort("step")

    assert (rows["response_token_ids"][0].to_list(), rows["behavior_logprobs"][0].to_list()) == (
        [7, 8, 9],
        [-0.5, -0.25, -1.0],
    )
    assert rows["evidence"][0] == "A"
    assert unknown["evidence"][0] in {"C", "D"}


def test_the_next_turn_of_a_chat_tells_which_choice_its_user_took() -> None:
    """Each turn is a trace, and so an episode, of its own; a chat of somebody else says nothing."""
    for conversation, used in (("mine", PLANS[1]), ("another", PLANS[0])):
        first = llm("first", trace="one", attributes=choices(**{"gen_ai.conversation.id": "mine"}))
        turns = [("user", "hi"), ("assistant", PLANS[1]), ("user", "Go on.")]
        following = llm(
            "next", trace="two", start=5, end=6, asked=turns, attributes={"gen_ai.conversation.id": conversation}
        )

        dataset = transform(spans_frame([first, following]), logs_frame(), EtlConfig(complete_after=0))

        actions = dict(dataset.tables["transitions"].select("trace_id", "action").iter_rows())
        assert json.loads(actions[first["trace_id"]])["text"] == used


def sampled(number: int) -> dict[str, Any]:
    """Return what the gateway records of three choices' ids."""
    return {
        names.PROMPT_TOKEN_IDS: [1, 2],
        **{names.CHOICE_TOKEN_IDS.format(index=index): [10 + index] * (index + 1) for index in range(number)},
        **{names.CHOICE_LOGPROBS.format(index=index): [-0.5] * (index + 1) for index in range(number)},
    }


def asked_for_three() -> list[Span]:
    """Return a call with three choices, the second of which was gone on from, and a score of the episode."""
    first = gateway("first", parent="root")
    first["attributes"] = json.dumps(json.loads(first["attributes"]) | choices(**sampled(3)))
    return [first, following(("user", "hi"), ("assistant", PLANS[1]))]


def rated(outcome: float) -> dict[str, Any]:
    """Return attributes of a span that is scored."""
    return {"events": json.dumps([evaluation(outcome)])}


def test_other_choices_are_transitions_where_settings_ask() -> None:
    """At the same state, exact samples of their own, with no next observation and no part in the outcome."""
    root = {**span("root", end=60), **rated(1.0)}
    spans = spans_frame([root, *asked_for_three()])
    plain = transform(spans, logs_frame(), EtlConfig(complete_after=0))

    dataset = transform(spans, logs_frame(), EtlConfig(complete_after=0, other_choices=True))

    rows = dataset.tables["transitions"]
    taken, others = rows.filter(IS_TAKEN), rows.filter(~IS_TAKEN).sort("choice")
    assert taken.equals(plain.tables["transitions"])
    assert [json.loads(text)["text"] for text in others["action"]] == [PLANS[0], PLANS[2]]
    assert others["response_token_ids"].to_list() == [[10], [12, 12, 12]]
    assert others["behavior_logprobs"].to_list() == [[-0.5], [-0.5, -0.5, -0.5]]
    assert others["observation"].to_list() == [taken["observation"][0]] * 2
    assert others["prompt_token_ids"].to_list() == [[1, 2]] * 2
    assert others["step"].to_list() == [0, 0]
    assert set(others["evidence"]) == {"A"}
    assert others["done"].to_list() == [True, True]
    for name in ("next_observation", "next_span_id", "outcome", "reward_outcome", "reward_step", "return_"):
        assert others[name].null_count() == 2, name
    assert dataset.tables["episodes"].equals(plain.tables["episodes"])
    assert dataset.counts["calls"] | {"other_choices": 0} == plain.counts["calls"]
    assert dataset.counts["calls"]["other_choices"] == 2


def test_a_choice_of_which_nothing_is_recorded_is_no_action() -> None:
    """Nor one whose ids no vocabulary has."""
    first, following_call = asked_for_three()
    attributes = json.loads(first["attributes"])
    impossible = attributes | {names.CHOICE_TOKEN_IDS.format(index=0): [-1]}
    first["attributes"] = json.dumps(impossible)

    config = EtlConfig(complete_after=0, other_choices=True)
    rows = transform(spans_frame([first, following_call]), logs_frame(), config).tables["transitions"]

    assert rows.filter(~IS_TAKEN)["choice"].to_list() == [2]


def test_what_is_asked_of_tools_is_judged_in_the_action_alone() -> None:
    """What a choice that was not gone on from asks for, and is not on offer, costs only the action that it would be."""
    offer = json.dumps([{"type": "function", "name": "walk", "parameters": {"type": "object"}}])
    first = llm("first", parent="root", attributes=choices(**{"gen_ai.tool.definitions": offer}))
    spans = spans_frame([span("root", end=60), first])

    config = EtlConfig(complete_after=0, other_choices=True, argument_schema=0.25)
    rows = transform(spans, logs_frame(), config).tables["transitions"].sort("choice")

    assert rows["reward_argument_schema"].to_list() == [None, None, -0.25]
    assert rows["return_"].to_list() == [None, None, -0.25]
    recombined = recombine(rows, config)
    assert recombined.equals(rows)


def test_ids_are_found_where_the_texts_are_in_the_agents_own_spans() -> None:
    """A gateway that records no content leaves the choices' texts to the client's instrumentation."""
    client = llm("first", parent="root", start=1, end=4, attributes=choices(**{"gen_ai.response.id": "chatcmpl-3"}))
    inside = gateway("inside", parent="first", start=2, end=3)
    known = {name: value for name, value in json.loads(inside["attributes"]).items() if "messages" not in name}
    inside["attributes"] = json.dumps(known | {"gen_ai.response.id": "chatcmpl-3"} | sampled(3))

    rows = run(client, inside, following(("user", "hi"), ("assistant", PLANS[2]))).tables["transitions"].sort("step")

    assert json.loads(rows["action"][0])["text"] == PLANS[2]
    assert rows["response_token_ids"][0].to_list() == [12, 12, 12]
