"""Which spans tell of an agent, and what lies above them, in whatever order they end."""

from types import SimpleNamespace
from typing import Any

import pytest

from otel_exporter.stages.selection import MAX_ASIDE, Selection, tells_of_an_agent


def span(number: int, *, parent: int | None = None, events: tuple[str, ...] = (), **attributes: Any) -> Any:
    names = {key.replace("__", "."): value for key, value in attributes.items()}
    return SimpleNamespace(
        context=SimpleNamespace(trace_id=1, span_id=number),
        parent=None if parent is None else SimpleNamespace(trace_id=1, span_id=parent),
        attributes=names,
        events=[SimpleNamespace(name=name) for name in events],
    )


def ids(spans: list[Any]) -> list[int]:
    return sorted(each.context.span_id for each in spans)


@pytest.mark.parametrize(
    "told",
    [
        span(1, gen_ai__request__model="m"),
        span(1, openinference__span__kind="LLM"),
        span(1, events=("gen_ai.evaluation.result",)),
        span(1, url__full="https://api.example.com/v1/chat/completions?x=1"),
        span(1, http__target="/v1beta/models/x:streamGenerateContent"),
    ],
)
def test_calls_judgements_and_requests_to_models_tell_of_an_agent(told: Any) -> None:
    """By whatever names their instrumentation gives them."""
    assert tells_of_an_agent(told)


@pytest.mark.parametrize(
    "silent",
    [span(1), span(1, http__target="/v1/users"), span(1, db__statement="select"), span(1, url__full=7)],
)
def test_what_else_a_program_traces_does_not(silent: Any) -> None:
    """Servers, databases, caches."""
    assert not tells_of_an_agent(silent)


def test_all_that_lies_above_a_chosen_span_is_chosen() -> None:
    """Whether it ends after its child, as it should, or before."""
    selection = Selection()
    early_root, late_root = span(1), span(11)

    chosen = selection.choose([early_root, span(2, parent=1), span(3, parent=2, gen_ai__system="x")])
    assert ids(chosen) == [1, 2, 3]
    assert ids(selection.choose([span(13, parent=12, gen_ai__system="x"), span(14, parent=12)])) == [13]
    assert ids(selection.choose([span(12, parent=11), span(15, parent=11), late_root])) == [11, 12]


def test_what_waits_is_bounded() -> None:
    """The ancestor that ended longest ago is forgotten; the rest goes on."""
    selection = Selection()
    selection.choose(span(number) for number in range(1, MAX_ASIDE + 2))

    assert ids(selection.choose([span(9001, parent=1, gen_ai__system="x")])) == [9001]
    assert ids(selection.choose([span(9002, parent=2, gen_ai__system="x")])) == [2, 9002]
