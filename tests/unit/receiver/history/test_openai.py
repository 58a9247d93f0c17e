"""OpenAI's: stored completions as its API lists them, and fine-tuning examples."""

from pathlib import Path
from typing import Any

import orjson

from tests.history import imported, transitions, write_lines

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Oslo?"}]
TURN = {"role": "assistant", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "4"}
ANSWER = {"role": "assistant", "content": "4 degrees."}


def completion(number: int, messages: list[Any], answer: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return an item of GET /chat/completions, with what GET …/messages lists beside it."""
    return {
        "object": "chat.completion",
        "id": f"chatcmpl-{number}",
        "model": "gpt-4o-mini-2024-07-18",
        "created": 1738960610 + number,
        "request_id": "req_1",
        "tool_choice": None,
        "usage": {"total_tokens": 31, "completion_tokens": 18, "prompt_tokens": 13},
        "seed": 42,
        "top_p": 1.0,
        "temperature": 0.7,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "service_tier": "default",
        "tools": TOOLS,
        "metadata": {"topic": "weather", "gen_ai.agent.name": "TravelAgent"},
        "choices": [{"index": 0, "message": answer, "finish_reason": "stop", "logprobs": None}],
        "response_format": None,
        "messages": [{"id": f"chatcmpl-{number}-{n}", "name": None, **message} for n, message in enumerate(messages)],
        **fields,
    }


def test_stored_completions_become_transitions(tmp_path: Path) -> None:
    """A page of the listing: the request with its tools and settings, the answer with its id."""
    page = {"object": "list", "data": [completion(1, ASKED, ANSWER)], "first_id": "chatcmpl-1", "has_more": False}
    (tmp_path / "page.json").write_bytes(orjson.dumps(page))

    outcome, (made,), dataset = transitions("openai", tmp_path / "page.json")

    assert (outcome.rows, outcome.imported, outcome.spans) == (1, 1, 2)
    assert [message["text"] for message in made["observation"]] == ["Be brief.", "Oslo?"]
    assert made["action"]["text"] == "4 degrees."
    assert (made["agent"], made["response_token_ids"], made["outcome"]) == ("TravelAgent", None, None)
    (call,) = dataset.tables["llm_calls"].iter_rows(named=True)
    assert (call["response_id"], call["model_returned"]) == ("chatcmpl-1", "gpt-4o-mini-2024-07-18")
    assert orjson.loads(call["params"])["temperature"] == 0.7
    assert [tool["name"] for tool in orjson.loads(call["tools"])] == ["weather"]


def test_a_fine_tuning_example_is_an_episode_of_its_assistant_s_turns(tmp_path: Path) -> None:
    """Each turn an action, what stands before it the observation; weight 0 is context alone."""
    lines = [
        {"messages": [*ASKED, TURN, RESULT, ANSWER], "tools": TOOLS},
        {"messages": [*ASKED, {**ANSWER, "weight": 0}, {"role": "user", "content": "And?"}, {**ANSWER, "weight": 1}]},
    ]

    outcome, made, _ = transitions("openai", write_lines(tmp_path / "train.jsonl", lines))

    assert (outcome.rows, outcome.imported, outcome.spans) == (2, 2, 3)
    by_length = sorted(made, key=lambda one: (len(one["observation"]), one["observation"][-1]["role"]))
    assert [[m["role"] for m in one["observation"]] for one in by_length] == [
        ["system", "user"],
        ["system", "user", "assistant", "tool"],
        ["system", "user", "assistant", "user"],
    ]
    assert by_length[0]["action"]["tool_calls"][0]["arguments"] == {"city": "Oslo"}
    assert by_length[0]["episode_id"] == by_length[1]["episode_id"] != by_length[2]["episode_id"]
    assert [one["step"] for one in by_length] == [0, 1, 0]


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path) -> None:
    """A completion without its messages, an example without a trained turn, a pair of preferences."""
    rows: list[dict[str, Any]] = [
        completion(1, ASKED, ANSWER),
        completion(2, [], ANSWER),
        {"messages": [*ASKED, {**ANSWER, "weight": 0}]},
        {"input": {"messages": ASKED}, "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]},
    ]

    outcome, _, _ = imported("openai", write_lines(tmp_path / "rows.jsonl", rows))

    assert (outcome.imported, outcome.refused.total()) == (1, 3)
    assert any("GET /chat/completions/ID/messages" in reason for reason in outcome.refused)


def test_the_responses_api_is_read_as_well(tmp_path: Path) -> None:
    """Its input and instructions stand beside the output."""
    row = {
        "object": "response",
        "id": "resp_1",
        "created_at": 1738960610,
        "model": "gpt-4o-mini",
        "status": "completed",
        "instructions": "Be brief.",
        "input": [{"role": "user", "content": "Oslo?"}],
        "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "4 degrees."}]}
        ],
    }

    _, (made,), _ = transitions("openai", write_lines(tmp_path / "rows.jsonl", [row]))

    assert [message["text"] for message in made["observation"]] == ["Be brief.", "Oslo?"]
    assert made["action"]["text"] == "4 degrees."
