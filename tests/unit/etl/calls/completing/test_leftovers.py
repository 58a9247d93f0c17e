"""Spans that no dialect made anything of, and those that say no more than an agent's name."""

import json

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import logs_frame, messages, span, spans_frame

AGENT = {"gen_ai.agent.name": "clerk"}


def dataset(*spans: dict[str, object]) -> Dataset:
    """Return what the ETL makes of spans."""
    return transform(spans_frame(list(spans)), logs_frame(), EtlConfig(complete_after=0))


def asked(text: str) -> dict[str, str]:
    """Return the attributes of an exchange, without the operation's name."""
    return {"gen_ai.input.messages": messages(("user", text)), "gen_ai.output.messages": messages(("assistant", "No."))}


def test_a_model_call_that_names_its_agent_is_a_call() -> None:
    """The name says who called, not that the span is the agent."""
    made = dataset(span("c", attributes={**AGENT, **asked("Is it cold?"), "gen_ai.request.model": "m"}))

    row = made.tables["transitions"].row(0, named=True)
    assert (row["agent"], json.loads(row["action"])["text"]) == ("clerk", "No.")


def test_an_agent_around_a_call_stays_the_agent() -> None:
    """What it was given and gave are the call's, once."""
    around = span("a", end=3, attributes={**AGENT, **asked("Is it cold?")})
    within = span("c", parent="a", attributes={**asked("Is it cold?"), "gen_ai.operation.name": "chat"})

    made = dataset(around, within)

    assert made.tables["llm_calls"]["agent"].to_list() == ["clerk"]
    assert made.tables["transitions"].height == 1


def test_an_exchange_of_an_agent_that_names_no_model_is_none() -> None:
    """It may be all that the agent did, in several calls that nobody recorded."""
    made = dataset(span("a", attributes={**AGENT, **asked("Is it cold?")}))

    assert made.tables["llm_calls"].height == 0


def test_an_agent_is_no_tool_and_no_call_by_its_name_alone() -> None:
    """Nothing is made of it, and nothing of it is called unread."""
    made = dataset(span("a", attributes={**AGENT, "model.name": "m"}))

    assert made.tables["llm_calls"].height == 0
    assert made.counts["unread_scopes"] == {}


def test_a_tool_that_names_its_agent_is_a_tool() -> None:
    """Its name and result make it one."""
    made = dataset(
        span("c", attributes={**AGENT, **asked("Is it cold?"), "gen_ai.operation.name": "chat"}),
        span("t", start=2, attributes={**AGENT, "tool.name": "look", "tool.result": "4"}),
    )

    assert made.tables["tool_calls"]["name"].to_list() == ["look"]
