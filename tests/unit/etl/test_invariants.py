"""Whatever happens to spans on the way, the same transitions come out or none: never others.

A transition is compared by what a trainer believes of it: state, action and what came next. What is lost may cost it,
with a reason; it may not change it.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import SECOND_NS, Span, agent, llm, logs_frame, span, spans_frame, tool

Message = dict[str, Any]

LOST_SILENTLY = {
    "gen_ai.system_instructions",  # a request need not have any
    "gen_ai.tool.definitions",
    "gen_ai.agent.name",
    "gen_ai.conversation.id",
}
"""Attributes whose absence says nothing unless the SDK counts what it dropped."""


def said(role: str, text: str) -> Message:
    """Return a message of text."""
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def asks(identifier: str, query: str) -> Message:
    """Return an answer that asks for a tool."""
    call = {"type": "tool_call", "id": identifier, "name": "search", "arguments": {"q": query}}
    return {"role": "assistant", "parts": [call]}


def found(identifier: str, text: str) -> Message:
    """Return a tool's result."""
    return {"role": "tool", "parts": [{"type": "tool_call_response", "id": identifier, "response": text}]}


@st.composite
def conversations(draw: st.DrawFn) -> list[Span]:
    """Agents one after the other in a trace, each with a conversation of some turns, with tools, ids used again."""
    spans: list[Span] = [span("root", end=400)]
    clock = 1.0
    for number in range(draw(st.integers(1, 2))):
        name = f"agent{number}"
        spans.append(agent(name, agent_name=name, parent="root", start=clock, end=clock + 150))
        system = draw(st.sampled_from([[], [said("system", "Be brief.")]]))
        history = [*system, said("user", draw(st.sampled_from(["Where is it?", "When?"])) + f" {number}")]
        for step in range(draw(st.integers(1, 4))):
            identifier = draw(st.sampled_from(["call_0", f"call_{number}_{step}"]))
            uses_tool = draw(st.booleans())
            answer = asks(identifier, f"q{step}") if uses_tool else said("assistant", f"Answer {number} {step}.")
            reason = "tool_calls" if uses_tool else "stop"
            spans.append(
                llm(
                    f"{name}-{step}",
                    parent=name,
                    start=clock + 2,
                    end=clock + 3 + draw(st.sampled_from([0.0, 5.0])),  # a stream may end late
                    response_id=f"chatcmpl-{number}{step}",
                    attributes={
                        "gen_ai.input.messages": json.dumps(history),
                        "gen_ai.output.messages": json.dumps([{**answer, "finish_reason": reason}]),
                        "gen_ai.response.finish_reasons": [reason],
                        "gen_ai.usage.output_tokens": 9,
                    },
                )
            )
            history = [*history, answer]
            if uses_tool:
                failed = draw(st.booleans())
                ran = {"start": clock + 4, "end": clock + 5, "status": "error" if failed else "ok"}
                if draw(st.booleans()):
                    spans.append(tool(f"{name}-t{step}", tool_name="search", call_id=identifier, parent=name, **ran))
                history = [*history, found(identifier, f"result {number} {step}")]
            else:
                history = [*history, said("user", f"Go on {number} {step}.")]
            clock += 6
        clock += 100
    return spans


def run(spans: list[Span]) -> Dataset:
    """Run the ETL, taking every trace as complete."""
    return transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0))


def believed(dataset: Dataset) -> dict[str, tuple[Any, ...]]:
    """Return by span what a trainer believes of each transition."""
    names = ("observation", "action", "next_span_id", "done", "reward_tool_status", "step")
    return {row["span_id"]: tuple(row[name] for name in names) for row in dataset.tables["transitions"].to_dicts()}


def exchanged(dataset: Dataset) -> dict[str, tuple[str, str]]:
    """Return by span state and action."""
    return {span_id: (own[0], own[1]) for span_id, own in believed(dataset).items()}


@given(conversations(), st.randoms(use_true_random=False))
def test_order_doubling_and_division_change_nothing(spans: list[Span], random: Any) -> None:
    """In any order, twice, over any requests."""
    mixed = [{**one, "received_seq": random.randint(1, 9)} for one in [*spans, *spans]]
    random.shuffle(mixed)

    assert believed(run(mixed)) == believed(run(spans))


@given(conversations(), st.data())
def test_clocks_that_differ_by_less_than_a_second_change_nothing(spans: list[Span], data: st.DataObject) -> None:
    """Each span by the clock of its own machine."""
    skews = data.draw(st.lists(st.integers(-499, 499), min_size=len(spans), max_size=len(spans)))
    skewed = [
        {**one, **{name: one[name] + skew * SECOND_NS // 1000 for name in ("start_ns", "end_ns")}}
        for one, skew in zip(spans, skews, strict=True)
    ]

    assert believed(run(skewed)) == believed(run(spans))


@given(conversations(), st.data())
def test_an_attribute_less_is_the_same_or_a_rejection(spans: list[Span], data: st.DataObject) -> None:
    """Dropped by an SDK, which counts it, or by a processor, which does not."""
    position = data.draw(st.integers(0, len(spans) - 1))
    attributes = json.loads(spans[position]["attributes"])
    if not attributes:
        return
    name = data.draw(st.sampled_from(sorted(attributes)))
    is_counted = data.draw(st.booleans()) or name in LOST_SILENTLY
    rest = json.dumps({key: value for key, value in attributes.items() if key != name})
    lost = {**spans[position], "attributes": rest, "dropped_attributes_count": int(is_counted)}

    whole = exchanged(run(spans))
    less = exchanged(run([*spans[:position], lost, *spans[position + 1 :]]))

    assert {span_id: own for span_id, own in less.items() if own != whole.get(span_id)} == {}


@given(conversations(), st.data())
def test_a_span_less_takes_no_other_call_along(spans: list[Span], data: st.DataObject) -> None:
    """What a lost span was, the others did not become."""
    position = data.draw(st.integers(0, len(spans) - 1))

    whole = exchanged(run(spans))
    less = exchanged(run([*spans[:position], *spans[position + 1 :]]))

    assert {span_id: own for span_id, own in less.items() if own != whole.get(span_id)} == {}


@pytest.mark.parametrize("limit", [40, 64, 100, 128, 200])
@given(spans=conversations())
def test_values_cut_at_a_length_change_no_exchange(limit: int, spans: list[Span]) -> None:
    """By `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`."""
    cut = [
        {
            **one,
            "attributes": json.dumps(
                {
                    name: value[:limit] if isinstance(value, str) else value
                    for name, value in json.loads(one["attributes"]).items()
                }
            ),
        }
        for one in spans
    ]

    whole, less = exchanged(run(spans)), exchanged(run(cut))

    assert {span_id: own for span_id, own in less.items() if own != whole.get(span_id)} == {}
