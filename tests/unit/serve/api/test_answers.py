import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from serve.api.answers import Recording, Wants, ask_for_evidence, client_wants, strip

NOTHING = Wants(logprobs=False, token_ids=False)


def token(index: int, token_id: int, delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One chunk of a stream, as vLLM sends it with ids and log-probabilities asked for."""
    choice = {"index": index, "delta": delta, "finish_reason": None, "token_ids": [token_id]}
    logprobs = {"content": [{"token": "x", "logprob": -token_id / 10, "bytes": [], "top_logprobs": []}]}
    return {"id": "chatcmpl-1", "model": "base", "choices": [{**choice, "logprobs": logprobs, **more}]}


def first(index: int) -> dict[str, Any]:
    delta = {"role": "assistant", "content": ""}
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
    return {"id": "chatcmpl-1", "model": "base", "choices": [choice], "prompt_token_ids": [1, 2]}


TOOL_STREAM = [
    first(0),
    token(0, 7, {}),  # the parser holds the text back, the ids come all the same
    token(0, 8, {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "add", "arguments": ""}}]}),
    token(0, 9, {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": '}}]}),
    token(0, 10, {}),
    token(0, 11, {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
    token(0, 2, {}, finish_reason="tool_calls"),
]


def test_a_streamed_tool_call_is_put_together() -> None:
    """Ids and log-probabilities of every token, those whose chunk shows no text included."""
    recording = Recording()
    for chunk in TOOL_STREAM:
        recording.read(chunk)

    choice = recording.choices[0]
    assert recording.prompt_token_ids == [1, 2]
    assert choice.token_ids == [7, 8, 9, 10, 11, 2]
    assert choice.logprobs == [-0.7, -0.8, -0.9, -1.0, -1.1, -0.2]
    assert choice.tool_calls == {0: {"id": "call_1", "name": "add", "arguments": '{"a": 1}'}}
    assert choice.finish_reason == "tool_calls"


def test_chunks_that_say_nothing_to_the_client_are_left_out() -> None:
    """An engine asked for ids sends a chunk a token; a client that did not ask gets those with something in them."""
    seen = [strip(copy.deepcopy(chunk), NOTHING) for chunk in TOOL_STREAM]

    assert [chunk is None for chunk in seen] == [False, True, False, False, True, False, False]
    assert "token_ids" not in str(seen)
    assert "logprob'" not in str(seen)


def test_a_client_that_asked_gets_what_it_asked_for() -> None:
    """With both asked for, nothing is changed."""
    for chunk in TOOL_STREAM:
        assert strip(copy.deepcopy(chunk), Wants(logprobs=True, token_ids=True)) == chunk


def test_a_usage_chunk_is_kept() -> None:
    """`include_usage` ends a stream with a chunk that has no choices."""
    chunk = {"id": "1", "choices": [], "usage": {"total_tokens": 3}}

    assert strip(copy.deepcopy(chunk), NOTHING) == chunk


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 99), st.text(max_size=3)), max_size=30))
def test_choices_interleaved_in_any_order_come_apart(tokens: list[tuple[int, int, str]]) -> None:
    """Each choice has its own text, ids and log-probabilities, in their own order."""
    recording = Recording()
    for index, token_id, text in tokens:
        recording.read(token(index, token_id, {"content": text}))

    for index, choice in recording.choices.items():
        mine = [(token_id, text) for place, token_id, text in tokens if place == index]
        assert choice.token_ids == [token_id for token_id, _ in mine]
        assert choice.logprobs == [-token_id / 10 for token_id, _ in mine]
        assert choice.text == "".join(text for _, text in mine)


def test_completions_are_read_from_their_own_places() -> None:
    """Prompt ids on the choice, log-probabilities in a flat list."""
    recording = Recording()

    recording.read(
        {
            "id": "cmpl-1",
            "choices": [
                {
                    "index": 0,
                    "text": "ab",
                    "prompt_token_ids": [5],
                    "token_ids": [7, 8],
                    "logprobs": {"token_logprobs": [-0.5, -0.25], "tokens": ["a", "b"]},
                    "finish_reason": "length",
                }
            ],
        }
    )

    assert recording.prompt_token_ids == [5]
    assert recording.choices[0].token_ids == [7, 8]
    assert recording.choices[0].logprobs == [-0.5, -0.25]


def test_what_the_client_asked_is_not_changed_by_what_we_ask() -> None:
    """Alternatives a client wants stay; a completion that wants none is asked for the sampled token's own."""
    assert ask_for_evidence({"logprobs": 5}, is_chat=False)["logprobs"] == 5
    assert ask_for_evidence({"logprobs": False, "top_logprobs": 2}, is_chat=True)["top_logprobs"] == 2
    assert client_wants({"logprobs": 0}, is_chat=False).logprobs
    assert not client_wants({"logprobs": False}, is_chat=True).logprobs
