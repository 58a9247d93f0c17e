"""Calls that are nobody's action: of judges, and of what the settings leave out."""

import json

from etl.settings import EtlConfig
from etl.transform import transform
from otel_exporter.schema import REPLAY
from tests.spans import Span, agent, llm, logs_frame, span, spans_frame


def rejected(*spans: Span, exclude: tuple[str, ...] = ()) -> list[str]:
    config = EtlConfig(complete_after=0, exclude_agents=list(exclude))
    return sorted(transform(spans_frame(spans), logs_frame(), config).tables["rejected"]["reason"].to_list())


def episode() -> list[Span]:
    return [
        span("root", end=20),
        agent("helper", agent_name="title-writer", parent="root", end=10),
        llm("a", parent="helper", start=1),
        llm("b", parent="root", start=2, asked=[("user", "b")]),
    ]


def test_agents_and_spans_are_left_out_by_patterns_of_their_names() -> None:
    """A span leaves out what is below it, and not itself alone."""
    assert rejected(*episode()) == []
    assert rejected(*episode(), exclude=("title-*",)) == ["excluded"]
    assert rejected(*episode(), exclude=("helper",)) == ["excluded"]
    assert rejected(*episode(), exclude=("root",)) == ["excluded", "excluded"]
    assert rejected(*episode(), exclude=("nobody",)) == []


def test_what_a_replay_asked_is_no_transition() -> None:
    """Whoever wrote the span: it says so itself, or one above it does."""
    marked = span("root", end=20, attributes={REPLAY: "1f"})
    own = llm("c", start=3)
    own["attributes"] = json.dumps(json.loads(own["attributes"]) | {REPLAY: "1f"})

    assert rejected(marked, llm("a", parent="root", start=1), llm("b", start=2), own) == ["replayed", "replayed"]
