"""A name is its words, however they are joined, and stands for the fact whose longest ending it has."""

import pytest

from etl.dialects.structure.names import ENDINGS, Kind, field_of, kind_of, names_content, names_kind, side_of, words_of


def test_spelling_makes_no_difference() -> None:
    """Dots, dashes, underscores, capitals and indices."""
    names = ("llm.usage.promptTokens", "llm.usage.prompt_tokens", "LLM_USAGE_PROMPT_TOKENS", "llm/usage/prompt-tokens")

    assert {words_of(name) for name in names} == {("llm", "usage", "prompt", "tokens")}
    assert words_of("messages.0.content") == ("messages", "0", "content")


def test_no_ending_is_claimed_by_two_facts() -> None:
    """Which of them a name meant would be a matter of order."""
    endings = [ending for several in ENDINGS.values() for ending in several]

    assert len(endings) == len(set(endings))


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("gen_ai.usage.output_tokens", "output_tokens"),
        ("gen_ai.request.max_output_tokens", "max_output_tokens"),
        ("usage.cache.input_tokens", "input_tokens"),
        ("usage.cache_creation_input_tokens", None),
        ("gen_ai.response.model", "model_returned"),
        ("gen_ai.request.model", "model_requested"),
        ("embedding.model", None),
        ("tool.call.id", "tool_call_id"),
        ("http.method", None),
    ],
)
def test_the_longest_ending_decides(name: str, field: str | None) -> None:
    """Also that a name which ends like a fact is none."""
    assert field_of(words_of(name)) == field


def test_the_side_is_told_by_the_word_nearest_to_the_end() -> None:
    """Of a request's answer, the answer."""
    assert [side_of(words_of(name)) for name in ("request.response", "response.input", "llm.messages")] == [
        "output",
        "input",
        None,
    ]
    assert [names_content(words_of(name)) for name in ("output.value", "output", "output.mime_type", "value")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_kind_is_told_by_the_first_that_has_one_of_its_words() -> None:
    """A type of something else within the span is no kind of the span."""
    assert [names_kind(words_of(name)) for name in ("span.kind", "run_type", "output.mime_type", "error.type")] == [
        True,
        True,
        False,
        False,
    ]
    assert [kind_of(value) for value in ("ChatCompletion", "llm-judge", "agent_step", "crew", "x")] == [
        Kind.CALL,
        Kind.EVALUATION,
        Kind.OTHER,
        Kind.AGENT,
        None,
    ]
