"""Counts of tokens are read in every API's words."""

from etl.dialects.shapes.exchanges import answer_signature, read_usage


def test_each_api_counts_in_its_own_words() -> None:
    """OpenAI's two, Anthropic's and LangChain's; a zero is a count, an absence is none."""
    chat = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 0}}
    responses = {"input_tokens": 9, "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 3}}
    anthropic = {"input_tokens": 9, "output_tokens": 4, "cache_read_input_tokens": 2}
    langchain = {"input_tokens": 9, "output_tokens": 4, "input_token_details": {"cache_read": 2}}

    found = [read_usage(usage) for usage in (chat, responses, anthropic, langchain)]

    assert [one and (one["input_tokens"], one["output_tokens"]) for one in found] == [(9, 4)] * 4
    assert [one and one["cached_input_tokens"] for one in found] == [0, None, 2, 2]
    assert [one and one["reasoning_tokens"] for one in found] == [None, 3, None, None]


def test_what_counts_nothing_is_none() -> None:
    """An empty object, another kind of value."""
    assert read_usage({}) is None
    assert read_usage("9 tokens") is None


def test_an_answer_is_known_by_what_it_asks_for_else_by_its_words() -> None:
    """Calls without ids are not told apart by them."""
    asked = {"role": "assistant", "text": "I ask.", "tool_calls": [{"id": "a"}, {"id": "b"}]}

    assert answer_signature(asked) == "a b"
    assert answer_signature({**asked, "tool_calls": [{"id": None}]}) == "I ask."
    assert answer_signature({"role": "assistant", "text": None}) == ""
