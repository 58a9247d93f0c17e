"""What is said of each span of a trace, and the entry that is proposed for spans nobody reads."""

import json
import tomllib

from etl.exports.explain import LONGEST, explain, suggest
from etl.settings import DialectEntry
from tests.spans import Span, agent, llm, logs_frame, span, spans_frame, tool
from tests.unit.etl.calls.made import seen


def told(*spans: Span) -> list[str]:
    return list(explain(spans_frame(spans), logs_frame(), []))


def test_every_span_that_means_something_is_told_of_in_the_order_they_began() -> None:
    """What it was read as, and by whom; an ordinary span has no line."""
    lines = told(
        llm("ask", start=2),
        agent("work", agent_name="scout", start=1),
        tool("act", tool_name="look", start=3),
        span("sleep", start=4),
    )

    heads = [line.split(" ", 1)[1] for line in lines if not line.startswith(" ")]
    assert heads == [
        "work: agent scout, read by genai",
        "ask: model call, read by genai",
        "act: execution of look, read by genai",
    ]


def test_a_calls_fields_are_told_with_the_place_they_came_from() -> None:
    """One message is not several; what is long is cut; what is missing is said to be."""
    (call,) = [
        [line.strip() for line in told(llm("ask", said=None, attributes={"gen_ai.request.model": "m" * 200}))[1:]]
    ]

    assert "input: 1 message, from gen_ai.input.messages" in call
    assert f"model_requested: {'m' * LONGEST}…, from gen_ai.request.model" in call
    assert not any(line.startswith("tools") for line in call)


def test_what_was_not_read_says_what_it_claims_to_be_and_where() -> None:
    """A span of a writer nobody knows."""
    lines = told(span("odd", scope="acme", attributes={"acme.kind": "retriever", "acme.input": '[{"role": "wiz'}))

    assert lines[0].endswith("odd: not read; it says that it is: other")
    assert lines[1:] == ["    not understood: acme.input"]


def strange(**attributes: object) -> DialectEntry:
    made = seen(scope="acme.sdk").span
    made.attributes = {name.replace("__", "."): value for name, value in attributes.items()}
    return DialectEntry.model_validate(tomllib.loads(suggest("acme.sdk", [made]))["etl"]["dialects"][0])


def test_the_proposed_entry_is_one() -> None:
    """Valid TOML with the places that were found, under the scope; no value of the span is in it."""
    entry = strange(
        acme__kind="generation", acme__prompt="Secret?", acme__reply__text="Hidden.", acme__usage__input_tokens=3
    )

    assert (entry.scope, entry.kind, entry.calls) == ("acme.sdk", "acme.kind", ["llm"])
    assert entry.places["input"] == ["acme.prompt"]
    assert entry.places["output"] == ["acme.reply.text"]
    assert "Secret" not in entry.model_dump_json()


def test_names_that_break_toml_do_not() -> None:
    """Quotes and backslashes in the names of attributes, and a scope without a word."""
    made = seen(scope='"\\').span
    made.attributes = {'acme."prompt"\\input': "Well?"}

    entry = tomllib.loads(suggest('"\\', [made]))["etl"]["dialects"][0]

    assert entry["name"] == "mine"
    assert entry["scope"] == '"\\'
    assert entry["places"]["input"] == ['acme."prompt"\\input']


def test_names_without_a_place_are_left_to_the_reader() -> None:
    """As comments, where they may tell of traffic."""
    made = seen(scope="acme").span
    made.attributes = {"acme.message_count": 3, "acme.prompt": json.dumps([{"role": "user", "content": "x"}])}

    text = suggest("acme", [made])

    assert "# acme.message_count" in text
    assert 'input = ["acme.prompt"]' in text
