"""Producers without a recording, in the shape they document: all that passed, or nothing else."""

import json
from typing import Any

import pytest

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests import agents, clients, javascript
from tests.spans import logs_frame, spans_frame
from tests.variants import exchange, said
from tests.writers import CONVERSATIONS, LOSSY, MODEL, WHOLE, Json, Writer, adk_go, adk_java, calls_of


def canonical(message: Json) -> dict[str, Any]:
    """Return a message of the wire in the published shape."""
    calls = [{"name": name, "arguments": given} for _, name, given in calls_of(message)]
    return {"role": message["role"], "text": message["content"], "tool_calls": calls}


def wire(conversation: list[Json], writer: Writer) -> list[tuple[str, str]]:
    """Return what was asked and answered, call by call; Gemini's results of tools are objects."""
    if writer in (adk_java, adk_go):
        conversation = [
            {**message, "content": json.dumps({"output": message["content"]}, ensure_ascii=False)}
            if message["role"] == "tool"
            else message
            for message in conversation
        ]
    return [
        (said([canonical(m) for m in conversation[:position]]), said([canonical(message)]))
        for position, message in enumerate(conversation)
        if message["role"] == "assistant"
    ]


def recorded(writer: Writer, conversation: list[Json]) -> Dataset:
    """Return what the ETL makes of a conversation."""
    spans: list[Json] = []
    logs: list[Json] = []
    for position, message in enumerate(conversation):
        if message["role"] == "assistant":
            made = writer(conversation[:position], message, position)
            spans, logs = [*spans, *made[0]], [*logs, *made[1]]
    return transform(spans_frame(spans), logs_frame(logs), EtlConfig(complete_after=0))


@pytest.mark.parametrize("writer", [*WHOLE, *clients.WHOLE, *javascript.WHOLE, *agents.WHOLE])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_every_call_comes_out_as_it_was(writer: Writer, name: str) -> None:
    """State and action of every call."""
    dataset = recorded(writer, CONVERSATIONS[name])

    rows = dataset.tables["transitions"].sort("step").iter_rows(named=True)
    assert [exchange(row) for row in rows] == wire(CONVERSATIONS[name], writer)
    assert dataset.tables["llm_calls"]["model_requested"].unique().to_list() == [MODEL]


@pytest.mark.parametrize("writer", [*LOSSY, *clients.LOSSY, *javascript.LOSSY, *agents.LOSSY])
def test_what_is_left_out_makes_no_other_transition(writer: Writer) -> None:
    """A transition of it is what passed; else it is rejected, or said to be unread."""
    for conversation in CONVERSATIONS.values():
        dataset = recorded(writer, conversation)

        happened = wire(conversation, writer)
        made = [exchange(row) for row in dataset.tables["transitions"].iter_rows(named=True)]
        assert [row for row in made if row not in happened] == []
        assert dataset.tables["llm_calls"].height or dataset.counts["unread_scopes"]


@pytest.mark.parametrize("writer", javascript.SILENT)
def test_calls_of_tools_that_nothing_shows_are_known_where_answers_are_empty(writer: Writer) -> None:
    """Of a conversation with an answer that only calls a tool, nothing after it is a transition, nor it."""
    dataset = recorded(writer, CONVERSATIONS["turns"])

    assert dataset.tables["transitions"].height == 0
