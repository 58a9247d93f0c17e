"""What a model saw, where the provider holds the conversation or the recorder writes only what is new."""

import json
from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.dialects.spans import LlmCall
from etl.published.rows import call_of
from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import Span, identifier, llm, logs_frame, span, spans_frame
from tests.unit.etl.calls.completing.test_server_history import ASK, RESULT, response, shown, turn

HELD = {"gen_ai.request.conversation": "conv_68a1f0"}
TALK = {"gen_ai.conversation.id": "talk"}


def run(*spans: Span, stored: Any = None) -> Dataset:
    """Run the ETL, taking every trace as complete."""
    return transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0), stored=stored)


def tokens(*texts: str) -> int:
    """Count tokens as prose has them, each text a message."""
    return sum(4 + -(-len(text) * 10 // 43) for text in texts)


def counted(
    name: str, *asked: dict[str, Any], tokens: int, parent: str | None = "root", attributes: Any = None, **rest: Any
) -> Span:
    """Return a call whose tokens are counted."""
    fields = {"gen_ai.usage.input_tokens": tokens, "gen_ai.usage.output_tokens": 5, **(attributes or {})}
    return response(name, *asked, parent=parent, attributes=fields, **rest)


def test_a_recorder_that_writes_only_what_is_new_is_seen_by_the_counts() -> None:
    """More tokens in fewer characters: the request was added to the one before."""
    question = "Please find out when my order with the number 4711 will be shipped to me."
    spans = [
        counted(
            "a", turn("system", "You are the shop's assistant."), turn("user", question), said=ASK, tokens=40, start=1
        ),
        counted("b", turn("tool", RESULT), said="On Monday.", tokens=55, start=3),
        counted("c", turn("user", "Thanks!"), said="Bye.", tokens=70, start=5),
    ]

    dataset = run(span("root", end=9), *spans)

    assert [role for role, _ in shown(dataset, "b")] == ["system", "user", "assistant", "tool"]
    assert [role for role, _ in shown(dataset, "c")] == ["system", "user", "assistant", "tool", "assistant", "user"]


def test_a_short_question_after_a_long_one_is_no_addition() -> None:
    """Its tokens are few."""
    spans = [
        counted("a", turn("user", "A long question " * 20), tokens=80, start=1),
        counted("b", turn("user", "Short?"), tokens=10, start=3),
    ]

    assert shown(run(span("root", end=9), *spans), "b") == [("user", "Short?")]


def test_what_was_said_between_and_not_recorded_is_seen_by_the_counts() -> None:
    """A call that is lost leaves tokens that nothing explains."""
    question = "Please find out when my order with the number 4711 will be shipped to me."
    spans = [
        counted("a", turn("user", question), tokens=30, start=1),
        counted("c", turn("user", "Thanks!"), said="Bye.", tokens=30 + 5 + 22 + 6, start=5),
    ]

    assert run(span("root", end=9), *spans).tables["rejected"]["reason"].to_list() == ["history_not_at_hand"]


def turns_of(attributes: dict[str, Any]) -> list[Span]:
    """Return three turns, each a trace of its own, whose requests hold only what is new."""
    hello = "Hello, I am Zora and my order has the number 4711."
    own: dict[str, Any] = {"parent": None, "attributes": attributes}
    return [
        counted("a", turn("user", hello), tokens=16, trace="1", start=1, **own),
        counted("b", turn("user", "When?"), said=ASK, tokens=31, trace="2", start=3, **own),
        counted("c", turn("tool", RESULT), said="Monday.", tokens=31 + 5 + 7, trace="3", start=5, **own),
    ]


@pytest.mark.parametrize("attributes", [HELD, TALK], ids=["the provider holds it", "the recorder leaves it out"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_conversation_is_put_together_over_its_traces(attributes: dict[str, Any], order: tuple[int, ...]) -> None:
    """However they came; of another conversation nothing is known."""
    spans = turns_of(attributes)

    dataset = run(*(spans[number] for number in order))

    roles = ["user", "assistant", "user", "assistant", "tool"]
    assert [role for role, _ in shown(dataset, "c")] == roles
    assert [role for role, _ in shown(dataset, "b")] == roles[:3]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_conversation_with_a_gap_is_no_observation(lost: int) -> None:
    """Nor with a beginning that is not at hand: the counts tell that there was one."""
    spans = turns_of(HELD)
    del spans[lost]

    dataset = run(*spans)

    assert dataset.tables["transitions"].height == lost
    assert set(dataset.tables["rejected"]["reason"]) == {"history_not_at_hand"}


def test_without_counts_nothing_is_proven_of_a_conversation_that_the_provider_holds() -> None:
    """There may have been more in it than the spans tell."""
    spans = [response(name, turn("user", "Hi."), start=start, attributes=HELD) for name, start in (("a", 1), ("b", 3))]

    assert run(*spans).tables["rejected"]["reason"].to_list() == ["history_not_at_hand"] * 2


def test_published_calls_are_at_hand() -> None:
    """Of nights before."""
    spans = turns_of(HELD)
    before = run(*spans[:2])

    class Stored:
        def conversations(self, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[LlmCall]]:
            assert list(wanted) == [("default", "conv_68a1f0")]
            rows = before.tables["llm_calls"].sort("start_ns").rows(named=True)
            return {("default", "conv_68a1f0"): [call_of({**row, "tools": None}) for row in rows]}

    dataset = run(spans[2], stored=Stored())

    assert [role for role, _ in shown(dataset, "c")] == ["user", "assistant", "user", "assistant", "tool"]


WORDS = st.text("abcdefgh ", min_size=1, max_size=60).map(lambda text: text.strip() or "a")


@given(
    said=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6),
    lost=st.sets(st.integers(0, 5), max_size=3),
    is_held=st.booleans(),
)
def test_an_observation_is_what_the_model_saw_or_rejected(
    said: list[tuple[str, str]], lost: set[int], is_held: bool
) -> None:
    """Whichever calls of a conversation are not recorded."""
    spans: list[Span] = []
    seen: dict[str, list[str]] = {}
    history: list[str] = []
    for number, (asked, answered) in enumerate(said):
        history = [*history, asked]
        fields = {
            "gen_ai.usage.input_tokens": tokens(*history),
            "gen_ai.usage.output_tokens": tokens(answered),
            "gen_ai.input.messages": json.dumps([turn("user", asked)]),
            **(HELD if is_held else {"gen_ai.openai.request.previous_response_id": f"r{number - 1}"} if number else {}),
        }
        name = f"call {number}"
        seen[identifier(name, 16)] = history
        history = [*history, answered]
        if number not in lost:
            made = llm(name, said=answered, response_id=f"r{number}", attributes=fields, trace=name, start=2 * number)
            spans.append(made)
    if not spans:
        return

    tables = run(*spans).tables

    assert tables["transitions"].height + tables["rejected"].height == len(spans)
    for span_id, observation in tables["transitions"].select("span_id", "observation").iter_rows():
        assert [message["text"] for message in json.loads(observation)] == seen[span_id]
