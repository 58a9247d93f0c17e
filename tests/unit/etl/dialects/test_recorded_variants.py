"""Recordings as writers, processors and limits nobody described would leave them: what passed, or no transition."""

import json
from typing import Any

import pytest

from etl.tables import Dataset
from tests import variants
from tests.recordings import load, run, scenarios

SHORT = (
    ("genkit-js", "tool_call"),
    ("litellm", "responses_tool_call"),
    ("mastra", "parallel_tools"),
    ("openinference-agno", "streaming_tool"),
    ("openinference-openai-agents-chat", "streaming_tool"),
    ("otel-genai-anthropic", "multi_turn"),
    ("otel-openai-legacy", "parallel_tools"),
    ("traceloop-openai-0.40", "parallel_tools"),
)
LONG = tuple(
    (producer, scenario)
    for producer, scenario in scenarios()
    if scenario in {"tool_call", "parallel_tools", "multi_turn", "responses_tool_call", "streaming_tool", "handoff"}
)
LIMITS = (100, 128, 200, 256, 300, 512)

UNPROVEN = {"gen_ai.system_instructions"}
"""Attributes of which nothing is left where all spans of a trace lack them, and which a request need not have."""

UNDERSTOOD = 0.95
"""Share of the transitions that must be left where all that a recording says is there under other names."""


def renamed(producer: str, scenario: str) -> tuple[Dataset, dict[str, Dataset], dict[str, Any]]:
    """Return what a recording gives as it is and as every variant, and what was on the wire."""
    spans, logs, expected = load(producer, scenario)
    made = {name: run(variants.changed(spans, change), logs) for name, change in variants.VARIANTS.items()}
    return run(spans, logs), made, expected


def check_names(producer: str, scenario: str) -> None:
    """Check that no variant gives a transition that was not on the wire."""
    whole, made, expected = renamed(producer, scenario)

    known = variants.exchanges(whole)
    assert {name: variants.wrong(one, expected, known) for name, one in made.items()} == {name: [] for name in made}


def check_drops(producer: str, scenario: str) -> None:
    """Check that no attribute, taken from one span or from all, makes a transition another."""
    spans, logs, expected = load(producer, scenario)
    known = variants.exchanges(run(spans, logs))
    rows = [(row["span_id"], json.loads(row["attributes"])) for row in spans.iter_rows(named=True)]
    changes = [variants.without(name) for name in {n for _, own in rows for n in own} - UNPROVEN]
    for change in changes:
        assert variants.wrong(run(variants.changed(spans, change), logs), expected, known) == []


def check_cuts(producer: str, scenario: str) -> None:
    """Check that texts cut at a length are no transitions."""
    spans, logs, expected = load(producer, scenario)
    known = variants.exchanges(run(spans, logs))
    for limit in LIMITS:
        change = variants.cut_at(limit)
        cut = run(variants.changed(spans, change), variants.changed(logs, change) if logs.height else logs)
        assert variants.wrong(cut, expected, known) == []


CHECKS = (check_names, check_drops, check_cuts)


@pytest.mark.parametrize(("producer", "scenario"), SHORT)
@pytest.mark.parametrize("check", [check_names, check_cuts])
def test_no_variant_is_another_exchange(check: Any, producer: str, scenario: str) -> None:
    """Under other names, doubly encoded, in events, in one value, or cut."""
    check(producer, scenario)


@pytest.mark.parametrize(("producer", "scenario"), SHORT[-2:])
def test_an_attribute_less_is_no_other_exchange(producer: str, scenario: str) -> None:
    """Taken from every span of a trace."""
    check_drops(producer, scenario)


@pytest.mark.long
@pytest.mark.parametrize(("producer", "scenario"), LONG)
@pytest.mark.parametrize("check", CHECKS)
def test_no_variant_of_any_recording_is_another_exchange(check: Any, producer: str, scenario: str) -> None:
    """The same over all recordings."""
    check(producer, scenario)


def test_what_is_all_there_is_understood() -> None:
    """Under another prefix and scope, nearly all that is recorded comes out."""
    kept = total = 0
    for producer, scenario in SHORT:
        spans, logs, _ = load(producer, scenario)
        total += run(spans, logs).tables["transitions"].height
        kept += run(variants.changed(spans, variants.rename), logs).tables["transitions"].height

    assert kept >= UNDERSTOOD * total - 2  # a history without an answer's words is read as such only of known writers
