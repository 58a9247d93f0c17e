"""Who reads a span, where several could."""

from typing import Any

import pytest

from etl.dialects.reading import BY_NAME, looks_like_traffic, read
from etl.dialects.spans import AgentSpan, Evaluation, LlmCall, Span
from otel_exporter.schema import AGENT_NAME, GATEWAY_SCOPE

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}


def seen(scope: str = "", name: str = "x", **attributes: Any) -> Span:
    return Span(0, "p", "t", "s", None, name, 0, 1, None, None, scope, None, attributes)


@pytest.mark.parametrize("scope", ["ragas", "DeepEval.metrics", "phoenix.evals.llm"])
def test_what_a_judge_asks_a_model_is_no_call_of_an_agents(scope: str) -> None:
    """Whatever conventions the library speaks, and however it writes its name."""
    found = read(seen(scope, **CHAT))

    assert isinstance(found, Evaluation)
    assert found.dialect == BY_NAME


def test_the_gateways_own_span_is_read_by_its_reader() -> None:
    """It speaks the GenAI conventions too, which would leave its token ids."""
    mine, other = read(seen(GATEWAY_SCOPE, **CHAT)), read(seen("somebody", **CHAT))

    assert isinstance(mine, LlmCall)
    assert isinstance(other, LlmCall)
    assert [mine.dialect, other.dialect] == ["gateway", "genai"]


def test_an_agents_name_alone_makes_an_agent_and_nothing_makes_none() -> None:
    """An empty name is none."""
    found = read(seen(**{AGENT_NAME: "planner"}))

    assert isinstance(found, AgentSpan)
    assert [found.name, found.dialect] == ["planner", BY_NAME]
    assert read(seen(**{"http.method": "GET"})) is None


def test_an_annotation_judges_only_where_it_has_a_reward() -> None:
    """The others of agent-lightning's own spans are ordinary ones, whatever else their attributes look like."""
    rewarded = seen(name="agentlightning.annotation", **{"agentlightning.reward.0.value": 0.5, **CHAT})

    assert isinstance(read(rewarded), Evaluation)
    assert read(seen(name="agentlightning.message", **CHAT)) is None


def test_a_stranger_looks_like_traffic_by_two_of_its_words() -> None:
    """One is a coincidence; what a dialect knows was looked at already."""
    assert looks_like_traffic(seen(**{"acme.model": "m", "acme.prompt": "hi"}))
    assert not looks_like_traffic(seen(**{"car.model": "m"}))
    assert not looks_like_traffic(seen(**{"acme.prompt": "hi", **CHAT}))
