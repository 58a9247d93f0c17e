"""Spans of every writer with some values replaced by what no writer should write: nothing raises, nothing is lost."""

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.dialects.conventions import genai
from tests.recordings import FIXTURES, FRAMEWORKS, load, run, scenarios
from tests.scale import times
from tests.spans import llm, logs_frame, spans_frame

DEEP = 900
HOSTILE: tuple[Any, ...] = (
    *(
        "",
        "x",
        "null",
        "[]",
        "{}",
        "[{}]",
        "[[[]]]",
        '[1, null, "a"]',
        "{'a': {1, 2}, 'b': b'c'}",
        "[99999999999999999999]",
    ),
    *("[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "[" * 180 + "]" * 180),
    '{"messages": [1, "a", null, {"role": 5, "content": {"a": [1]}}]}',
    '[{"role": "assistant", "parts": [1, {"type": "tool_call"}], "tool_calls": ["a", {"function": "x"}]}]',
    '{"choices": [null, 1, {"message": "x"}, {"message": {"tool_calls": [1, {"function": {"arguments": 3}}]}}]}',
    '{"generations": [[{"message": {"lc": 1, "id": [], "kwargs": {"tool_calls": ["a", 1, null]}}}]]}',
    '{"output": [1, {"type": "message", "content": [1, null]}], "status": 3, "object": "response"}',
    '[{"type": "ai", "content": [1], "response_metadata": [1]}, {"lc": 1, "id": 5, "kwargs": {"content": null}}]',
    '{"usage": {"prompt_tokens": "x", "completion_tokens": -1}, "prompt_tokens": 1e300}',
    *(5, -1, 2**63 - 1, 1e308, True, None, [1, 2], ["a"], {"a": 1}, [{"role": "user"}]),
)
RECORDINGS = [(root, *names) for root in (FIXTURES, FRAMEWORKS) for names in scenarios(root)]


def counted(counts: dict[str, Any]) -> int:
    """Return how many spans are counted, whatever as."""
    return sum(sum(part.values()) if isinstance(part, dict) else part for name, part in counts.items() if name != "in")


@st.composite
def damaged(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Draw a recording with some of its attributes, and of its events' and log records', replaced."""
    root, producer, scenario = draw(st.sampled_from(RECORDINGS))
    spans, logs, _ = load(producer, scenario, root)
    hostile = st.sampled_from(HOSTILE)

    def damage(text: str | None) -> str | None:
        fields = json.loads(text) if text else None
        if isinstance(fields, dict) and fields:
            for name in draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3)):
                fields[name] = draw(hostile)
        return json.dumps(fields)

    def damage_events(text: str) -> str:
        events = json.loads(text)
        for event in events[:3]:
            event["attributes"] = json.loads(damage(json.dumps(event.get("attributes") or {})) or "{}")
        return json.dumps(events)

    spans = spans.with_columns(
        attributes=pl.Series([damage(text) for text in spans["attributes"]], dtype=pl.String),
        events=pl.Series([damage_events(text) if text else text for text in spans["events"]], dtype=pl.String),
    )
    return spans, logs.with_columns(
        body=pl.Series([damage(text) for text in logs["body"]], dtype=pl.String),
        attributes=pl.Series([damage(text) for text in logs["attributes"]], dtype=pl.String),
    )


@settings(
    deadline=None,
    max_examples=times(short=100, long=5000),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(damaged())
def test_whatever_spans_hold_the_run_ends_and_counts_reconcile(frames: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    """Every span is counted once, every call is a transition or rejected."""
    spans, logs = frames

    dataset = run(spans, logs)

    assert counted(dataset.counts["spans"]) == dataset.counts["spans"]["in"] == spans.height
    calls = dataset.counts["calls"]
    assert calls["in"] == calls["transitions"] + sum(calls["rejected"].values())


def test_a_span_its_reader_cannot_stand_is_counted_and_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays in its trace, ordinary; the report says whose it was and what kind of error, and no value of it."""
    read = genai.read

    def choosy(span: Any) -> Any:
        if span.name == "bad":
            raise ValueError("secret prompt")
        return read(span)

    monkeypatch.setattr(genai, "read", choosy)
    bad, good = ({**llm(name), "name": name} for name in ("bad", "good"))

    dataset = run(spans_frame([bad, good]), logs_frame())

    assert dataset.counts["unreadable_scopes"] == {f"{bad['scope_name']}: ValueError": 1}
    assert dataset.counts["spans"]["ignored"] == {"unreadable": 1}
    assert dataset.tables["transitions"].height == 1
    assert "secret" not in str(dataset.counts)
