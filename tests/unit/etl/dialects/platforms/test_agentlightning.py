"""What agent-lightning's tracers leave: token ids beside the messages, rewards as annotation spans."""

from tests.recordings import load, run


def test_token_ids_and_logprobs_of_the_server_are_exact_evidence() -> None:
    """The ids the expected file holds, per call, and the reward of the whole attempt at its end."""
    spans, logs, expected = load("agentlightning-agentops", "token_ids")

    dataset = run(spans, logs)

    rows = dataset.tables["transitions"].to_dicts()
    assert [row["prompt_token_ids"] for row in rows] == [call["prompt_token_ids"] for call in expected["llm_calls"]]
    assert [row["response_token_ids"] for row in rows] == [
        call["output"][0]["token_ids"] for call in expected["llm_calls"]
    ]
    assert [row["evidence"] for row in rows] == ["A", "A"]
    assert [row["reward"] for row in rows] == [None, 1.0]
    assert dataset.tables["episodes"]["episode_id"].to_list() == ["ro-demo-1/at-demo-1"]


def test_an_annotation_linked_to_a_call_that_is_not_there_is_unused() -> None:
    """And the others judge an attempt in which no model was called."""
    spans, logs, _ = load("agentlightning-otel", "rewards")

    rewards = run(spans, logs).tables["rewards"].sort("name", "value")

    assert rewards.select("name", "value", "reason").rows() == [
        ("efficiency", 0.8, "nobody_acted"),
        ("primary", 0.5, "no_such_span"),
        ("primary", 1.0, "nobody_acted"),
        ("task_completion", 1.0, "nobody_acted"),
    ]
