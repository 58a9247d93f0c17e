"""What a span holds is found by what it is, wherever it stands."""

import json
from typing import Any

import pytest

from etl.dialects.spans import LogRecord, Span
from etl.dialects.structure.names import Kind
from etl.dialects.structure.survey import Survey, survey
from tests.unit.etl.calls.made import seen

USER, ANSWER = {"role": "user", "content": "Well?"}, {"role": "assistant", "content": "Yes."}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "name": "look", "arguments": {"at": "sky"}}


def found(*, events: Any = (), logs: Any = (), **attributes: Any) -> Survey:
    """Survey a span; `__` in a name stands for a dot."""
    span: Span = seen().span
    span.attributes = {name.replace("__", "."): value for name, value in attributes.items()}
    span.events, span.logs = list(events), list(logs)
    return survey(span)


def asked(survey_: Survey) -> list[tuple[str, list[str | None]]]:
    return [(place, [message["text"] for message in request.input or ()]) for place, request in survey_.requests]


def answered(survey_: Survey) -> list[tuple[str, list[str | None]]]:
    return [(place, [message["text"] for message in response.output or ()]) for place, response in survey_.responses]


@pytest.mark.parametrize("value", [[USER], json.dumps([USER]), json.dumps(json.dumps([USER])), [json.dumps(USER)]])
def test_messages_are_a_request_however_they_were_packed(value: Any) -> None:
    """As values, as JSON, as JSON in JSON, or each a text of its own."""
    assert asked(found(acme__history=value)) == [("acme.history", ["Well?"])]


def test_a_whole_span_in_one_value_is_looked_through() -> None:
    """Numbered names and objects within objects included; the place says where."""
    span = found(
        acme__blob=json.dumps(
            {"step": {"call": {"messages": [USER]}}, "llm.prompts.0.role": "user", "llm.prompts.0.content": "So?"}
        )
    )

    assert sorted(asked(span)) == [("acme.blob.llm.prompts.N", ["So?"]), ("acme.blob.step.call", ["Well?"])]


def test_what_lies_deeper_than_anybody_packs_is_left() -> None:
    """A stranger's object is not searched without end."""
    value: Any = {"messages": [USER]}
    for _ in range(8):
        value = {"box": value}

    assert found(acme=value).requests == []


def test_an_output_is_an_answer_and_a_state_of_a_run_is_none() -> None:
    """Where results or the user's words are among its messages it is a whole run, and said to be one."""
    answer, run = found(acme__output=[ANSWER]), found(acme__output={"messages": [USER, ANSWER]})

    assert (answered(answer), answer.runs) == ([("acme.output", ["Yes."])], [])
    assert (run.responses, run.runs) == ([], ["acme.output"])


def test_numbered_attributes_are_a_list_and_gaps_in_it_are_seen() -> None:
    """The SDK drops the oldest attributes first."""
    whole = found(acme__prompt__0__role="user", acme__prompt__0__content="Well?")
    gapped = found(
        acme__prompt__0__role="user",
        acme__prompt__0__content="a",
        acme__prompt__2__role="user",
        acme__prompt__2__content="b",
    )

    assert (asked(whole), whole.has_gaps) == ([("acme.prompt.N", ["Well?"])], False)
    assert gapped.has_gaps


def test_json_that_breaks_off_is_cut_and_not_a_text() -> None:
    """Half a request is no words of anybody's."""
    span = found(acme__output=json.dumps([ANSWER, ANSWER])[:-12])

    assert (span.has_cut, span.unread, span.texts["output"]) == (True, ["acme.output"], [])


def test_an_answer_in_json_is_the_models_text() -> None:
    """Data of nobody's shape, as it was written; what looks like traffic nobody knows is no text."""
    data, wrapped = '{"city": "Oslo"}', json.dumps('{"city": "Oslo"}')

    assert found(acme__output=data).texts["output"] == [("acme.output", data)]
    assert found(acme__output=wrapped).texts["output"] == [("acme.output", data)]
    assert found(acme__output='{"status": "fine"}').texts["output"] == []
    assert found(acme__input=data).texts["input"] == []


def test_texts_stand_on_their_side() -> None:
    """The empty text too, but no blanks; a name that is not that of content holds none."""
    span = found(acme__prompt="Well?", acme__completion="", acme__response__text=" ", acme__output__type="x")

    assert span.texts == {"input": [("acme.prompt", "Well?")], "output": [("acme.completion", "")]}


def test_facts_are_known_by_the_ends_of_their_names() -> None:
    """The first one found stands; whatever a tool was given or gave is kept whole."""
    span = found(
        a__usage__inputTokens=3,
        b__usage__input_tokens=4,
        tool__arguments={"at": {"theSky": 1}},
        system__instructions="Be kind.",
        acme__instructions="",
    )

    assert (span.fact("input_tokens"), span.fact("tool_arguments"), span.fact("seed")) == (
        3,
        {"at": {"theSky": 1}},
        None,
    )
    assert span.facts["system"] == ("system.instructions", "Be kind.")


def test_the_most_telling_of_what_a_span_says_that_it_is_is_its_kind() -> None:
    """A chain that is also a generation is a call; a mime type says nothing."""
    span = found(acme__type="chain", other__kind="generation", output__mime__type="tool")

    assert (span.kind, [kind for _, kind in span.kinds]) == (Kind.CALL, [Kind.OTHER, Kind.CALL])
    assert found(acme__kind="DEFAULT").kind is None


def test_tools_and_calls_apart_from_their_answer_are_found() -> None:
    """Definitions are an offer; calls on neither side are calls, on the answer's side an answer."""
    span = found(acme__offered=[TOOL], acme__asked__for=json.dumps([CALL]))
    output = found(acme__output=[{"type": "text", "text": "Yes."}])

    assert [[tool["name"] for tool in tools] for _, tools in span.tools] == [["look"]]
    assert [place for place, _ in span.calls] == ["acme.asked.for"]
    assert answered(output) == [("acme.output", ["Yes."])]


def test_traffic_that_nobody_understands_is_noted() -> None:
    """Entries with roles that make no list of messages, on a side: a call that is not read is seen."""
    items = [{"role": "wizard", "x": 1}, {"role": "elf", "x": 2}]

    assert found(acme__input=items).unread == ["acme.input"]
    assert found(acme__crew=items).unread == []


def test_counts_in_an_object_of_nobodys_are_taken() -> None:
    """Usage without an answer is still what the call used."""
    span = found(acme__meta={"prompt_tokens": 3, "completion_tokens": 4})

    assert [response.usage["output_tokens"] for _, response in span.responses if response.usage] == [4]
    assert not span.has_exchange()


def test_chunks_of_a_stream_are_one_answer() -> None:
    """In the order they came."""
    chunks = [{"id": "r", "choices": [{"index": 0, "delta": {"content": text}}]} for text in ("Ye", "s.")]

    assert answered(found(acme__stream=chunks)) == [("acme.stream", ["Yes."])]


def event(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "time_ns": 0, "attributes": {key.replace("__", "."): value for key, value in fields.items()}}


def test_events_that_carry_a_message_each_are_an_exchange() -> None:
    """Under any name that says whose it is; an exception is none, whatever it says."""
    span = found(
        events=[
            event("acme.user.message", content="Well?"),
            event("acme.choice", message=json.dumps(ANSWER), finish_reason="stop"),
            event("exception", message="user message", content="Broken."),
            event("acme.user.clicked", content="ok"),
        ]
    )

    assert asked(span) == [("events", ["Well?"])]
    assert answered(span) == [("events", ["Yes."])]


def test_other_events_and_records_are_looked_through_like_attributes() -> None:
    """Their fields under the event's name; a record's body may be JSON."""
    record = LogRecord("acme.request", 0, json.dumps({"messages": [USER]}), {"usage.input_tokens": 3})
    span = found(events=[event("acme.done", completion="Yes.")], logs=[record])

    assert span.fact("input_tokens") == 3
    assert asked(span) == [("acme.request/messages", ["Well?"])]
    assert span.texts["output"] == [("acme.done/completion", "Yes.")]


def test_nothing_is_found_in_nothing() -> None:
    """Empty lists, blanks and nulls are no traffic."""
    span = found(acme__input=[], acme__output={}, acme__prompt=None, acme__flag=True)

    assert (span.size(), span.has_exchange(), span.facts, span.kind) == (0, False, {}, None)
