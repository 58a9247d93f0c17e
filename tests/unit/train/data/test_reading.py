"""Reading transitions: what is trained, what is context only, and why."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from etl.schema import Evidence, SetAside, Split, table_files
from tests.logged import frame, publish, transition
from train.data.logged import Logged, Truncation
from train.data.reading import read_calls, read_transitions

NO_IDS = {"prompt_token_ids": None, "response_token_ids": None, "behavior_logprobs": None, "evidence": "C"}


def read(*rows: dict[str, object], **settings: object) -> Logged:
    """Read rows with room for ten ids and ten positions."""
    return read_calls(frame(rows), vocabulary_size=10, max_length=10, tokenizer="ours", **settings)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"outcome": 0.0}, None),
        ({"outcome": None}, SetAside.NO_OUTCOME),
        ({"outcome": float("nan")}, SetAside.NO_OUTCOME),
        ({"evidence": "B", "tokenizer_digest": "ours"}, SetAside.NOT_EXACT),
        ({"evidence": "B"}, SetAside.OTHER_TOKENIZER),
        ({"evidence": None}, SetAside.NOT_EXACT),
        ({"temperature": 0.0}, SetAside.GREEDY),
        ({"temperature": 0.5}, None),
        ({"temperature": None}, SetAside.MALFORMED),
        ({"temperature": 0.5, "logprobs_mode": "raw"}, SetAside.RAW_LOGPROBS),
        ({"logprobs_mode": "raw"}, None),
        ({"top_p": 0.9}, SetAside.TRUNCATED_SAMPLING),
        ({"top_k": 20}, SetAside.TRUNCATED_SAMPLING),
        ({"top_p": 0.9, "logprobs_mode": "masked"}, SetAside.MASKED),
        ({"top_k": -1}, None),
        ({"min_p": 0.05}, SetAside.TRUNCATED_SAMPLING),
        ({"tokenizer_digest": "theirs"}, SetAside.OTHER_TOKENIZER),
        ({"behavior_logprobs": [-1.0]}, SetAside.MALFORMED),
        ({"behavior_logprobs": None}, SetAside.MALFORMED),
        ({"behavior_logprobs": [-1.0, float("-inf")]}, SetAside.MALFORMED),
        ({"behavior_logprobs": [-1.0, None]}, SetAside.MALFORMED),
        ({"response_token_ids": [], "behavior_logprobs": []}, SetAside.MALFORMED),
        ({"prompt_token_ids": []}, SetAside.MALFORMED),
        ({"prompt_token_ids": [10]}, SetAside.MALFORMED),
        ({"prompt_token_ids": [-1]}, SetAside.MALFORMED),
        ({"prompt_token_ids": [1] * 9}, SetAside.TOO_LONG),
    ],
)
def test_a_call_that_cannot_be_trained_says_why(fields: dict[str, object], reason: SetAside | None) -> None:
    """Every row becomes a call; the odd ones carry their reason."""
    assert [call.set_aside for call in read(transition(**fields)).calls] == [reason]


def test_a_missing_outcome_stays_missing() -> None:
    """Null is not 0."""
    logged = read(transition(outcome=None))

    assert np.isnan(logged.episodes[0].outcome)


def test_only_the_named_agents_are_trained() -> None:
    """The others stay in the episode, with their turns."""
    rows = [transition(step=step, agent=agent) for step, agent in enumerate(["planner", "coder-1", "planner", None])]

    logged = read(*rows, agents=("plan*",))

    assert [call.set_aside for call in logged.calls] == [None, SetAside.OTHER_AGENT, None, SetAside.OTHER_AGENT]
    assert [call.turn for call in logged.calls] == [0, 0, 1, 0]


def test_calls_of_other_policies_are_context() -> None:
    """A version that was not recorded passes: it is judged by its log-probabilities later."""
    rows = [transition(step=step, policy_version=name) for step, name in enumerate(["mine", "theirs", None])]

    logged = read(*rows, policies=frozenset(["mine"]))

    assert [call.set_aside for call in logged.calls] == [None, SetAside.OTHER_POLICY, None]


def test_intermediate_rewards_are_added_up_and_the_outcome_is_not_among_them() -> None:
    """A signal that did not fire adds nothing."""
    logged = read(
        transition(step=0, reward_tool_status=-0.1, reward=-0.1), transition(step=1, reward_outcome=1.0, reward=1.0)
    )

    assert [call.intermediate for call in logged.calls] == [-0.1, 0.0]


def test_attempts_at_a_task_share_it_and_an_episode_without_one_stands_alone() -> None:
    """No task id is no task in common."""
    logged = read(*(transition(episode_id=name, task_id=task) for name, task in [("a", "t"), ("b", "t"), ("c", None)]))

    tasks = [episode.task for episode in logged.episodes]
    assert tasks[0] == tasks[1] != tasks[2]


def test_the_same_task_in_two_projects_is_two_tasks() -> None:
    """Tenants are not compared."""
    logged = read(*(transition(project=project) for project in ("a", "b")))

    assert len({episode.task for episode in logged.episodes}) == 2


def test_users_of_two_projects_are_two_users() -> None:
    """However they are called; and nobody is no user."""
    rows = [transition(project=project, user_id=user) for project, user in [("a", "ada"), ("b", "ada"), ("c", None)]]

    users = [episode.user for episode in read(*rows).episodes]

    assert users[0] != users[1]
    assert users[2] is None


def test_files_of_before_users_were_recorded_have_none(tmp_path: Path) -> None:
    """A column that was added later is null in what is older."""
    data = publish(tmp_path, [transition()])
    (path,) = table_files(data, "transitions")
    frame([transition()]).drop("user_id").write_parquet(path)

    assert read_transitions(data, Split.TRAIN)["user_id"].to_list() == [None]


def test_ids_and_logprobs_arrive_as_they_were_written(tmp_path: Path) -> None:
    """Through Parquet and back, in order of episode and step; a null list is empty and set aside."""
    rows = [
        transition(episode_id="b", prompt_token_ids=None),
        transition(episode_id="a", step=1, response_token_ids=[7], behavior_logprobs=[-0.5]),
        transition(episode_id="a", step=0),
    ]

    logged = read_calls(read_transitions(publish(tmp_path, rows), Split.TRAIN), vocabulary_size=10, max_length=10)

    assert [call.response_ids.tolist() for call in logged.calls] == [[4, 5], [7], [4, 5]]
    assert [call.behavior_logprobs.tolist() for call in logged.calls] == [[-1, -1], [-0.5], [-1, -1]]
    assert [len(call.prompt_ids) for call in logged.calls] == [3, 3, 0]


def test_heldout_rows_are_never_read_for_training(tmp_path: Path) -> None:
    """The split decides."""
    publish(tmp_path, [transition(episode_id="a"), transition(episode_id="b", split="heldout")])

    assert read_transitions(tmp_path, Split.TRAIN)["episode_id"].to_list() == ["a"]


def test_since_drops_episodes_that_began_before_it(tmp_path: Path) -> None:
    """A whole episode is in or out: the late call of an early one is out too."""
    day = 86_400 * 1_000_000_000
    publish(
        tmp_path,
        [
            transition(episode_id="early", start_ns=day - 1),
            transition(episode_id="early", step=1, start_ns=day + 1),
            transition(episode_id="late", start_ns=day),
        ],
    )

    rows = read_transitions(tmp_path, Split.TRAIN, since=datetime(1970, 1, 2, tzinfo=UTC))

    assert rows["episode_id"].to_list() == ["late"]


def test_a_dataset_that_was_never_published_is_empty(tmp_path: Path) -> None:
    """No file, no error."""
    logged = read_calls(read_transitions(tmp_path, Split.TRAIN), vocabulary_size=10, max_length=10)

    assert (logged.episodes, logged.calls) == ([], [])


MINE = {"policies": frozenset(["mine", "parent"]), "own_version": "mine", "admits": frozenset(Evidence)}


@pytest.mark.parametrize(
    ("fields", "rung"),
    [
        ({"policy_version": "mine"}, Evidence.EXACT),
        ({"policy_version": "mine", "evidence": "B"}, Evidence.RESCORED),
        ({"policy_version": "mine", "evidence": "B", "temperature": None}, Evidence.IDS),
        ({"policy_version": "parent", "evidence": "B"}, Evidence.IDS),
        ({"policy_version": "theirs", "evidence": "B", "tokenizer_digest": "ours"}, Evidence.FOREIGN),
        ({"policy_version": None, "evidence": "B", "tokenizer_digest": "ours"}, Evidence.FOREIGN),
        ({"policy_version": "mine", "temperature": 0.0}, Evidence.CUT),
        ({"policy_version": "mine", "top_p": 0.9, "top_k": 20}, Evidence.EXACT),
        ({"policy_version": None, "top_p": 0.9}, Evidence.EXACT),
        ({"policy_version": "parent", "top_p": 0.9}, Evidence.CUT),
        ({"policy_version": "mine", "evidence": "B", "top_p": 0.9}, Evidence.RESCORED),
        ({"policy_version": "parent", "evidence": "B", "top_p": 0.9}, Evidence.CUT),
        ({"policy_version": "mine", "logprobs_mode": "raw", "temperature": 0.5}, Evidence.RESCORED),
        ({"policy_version": "parent", "logprobs_mode": "raw", "temperature": 0.5}, Evidence.CUT),
        ({"policy_version": "mine", "logprobs_mode": "masked"}, Evidence.CUT),
        ({"policy_version": "theirs", "evidence": "B", "top_p": 0.9, "tokenizer_digest": "ours"}, Evidence.FOREIGN),
        ({"evidence": "C"}, Evidence.TEXT),
        ({"evidence": "D"}, Evidence.FOREIGN),
        ({"evidence": None}, Evidence.FOREIGN),
    ],
)
def test_the_rung_of_a_call_is_what_is_known_of_its_sampling(fields: dict[str, object], rung: Evidence) -> None:
    """Where everything is admitted, nothing of it is set aside; log-probabilities are those on record, or none."""
    (call,) = read(transition(**fields), **MINE).calls

    assert (call.evidence, call.set_aside) == (rung, None)
    assert np.isnan(call.behavior_logprobs).all() == (rung is not Evidence.EXACT)
    assert len(call.behavior_logprobs) == len(call.response_ids)
    assert call.temperature > 0


@pytest.mark.parametrize(
    ("fields", "is_ours"),
    [
        ({"tokenizer_digest": "ours"}, True),
        ({"tokenizer_digest": "theirs"}, False),
        ({"tokenizer_digest": "theirs", "policy_version": "mine"}, False),
        ({"policy_version": "mine"}, True),
        ({"policy_version": "parent"}, True),
        ({}, False),
        ({"policy_version": "theirs"}, False),
    ],
)
def test_ids_of_another_tokenizer_are_never_taken_for_ours(fields: dict[str, object], is_ours: bool) -> None:
    """The same number is another text there; what is left of such a call is its text, and where there is none, why."""
    row = transition(evidence="B", **fields)

    (call,) = read(row, **MINE).calls
    (told,) = read(row | {"action": "{}"}, **MINE, render=lambda *_text: ([1], [2])).calls

    assert (call.set_aside is None) == is_ours
    assert call.set_aside in (None, SetAside.OTHER_TOKENIZER)
    assert told.set_aside is None
    assert (told.response_ids.tolist() == [2]) == (not is_ours)
    assert (told.evidence is Evidence.FOREIGN) or is_ours


def test_what_was_left_to_sample_from_comes_along() -> None:
    """Null where all was."""
    cut, whole = read(transition(top_p=0.9, top_k=20, span_id="a"), transition(top_k=-1, span_id="b")).calls

    assert cut.truncation == Truncation(top_p=0.9, top_k=20)
    assert whole.truncation is None


def test_text_is_rendered_and_what_cannot_be_is_set_aside() -> None:
    """The renderer is asked for rows without ids alone, and only where text is admitted."""
    rows = [
        transition(step=0, observation="o", tools="t", action="good", **NO_IDS),
        transition(step=1, observation="o", action="bad", **NO_IDS),
        transition(step=2, action="has ids"),
    ]
    asked = []

    def render(observation: str | None, tools: str | None, action: str) -> tuple[list[int], list[int]] | None:
        asked.append((observation, tools, action))
        return ([1, 2], [3]) if action == "good" else None

    logged = read(*rows, render=render, admits=frozenset(Evidence))

    assert asked == [("o", "t", "good"), ("o", None, "bad")]
    assert [call.set_aside for call in logged.calls] == [None, SetAside.UNRENDERED, None]
    assert (logged.calls[0].prompt_ids.tolist(), logged.calls[0].response_ids.tolist()) == ([1, 2], [3])
    assert [call.set_aside for call in read(*rows, render=render).calls] == [SetAside.NOT_EXACT] * 2 + [None]
    assert len(asked) == 2


def test_intermediate_rewards_are_bounded_as_the_etl_bounded_them() -> None:
    """By `air_scale`; a step reward that was given is not AIR and stays as it is."""
    logged = read(transition(reward_tool_status=-0.4, reward_step=0.25, air_scale=0.5))

    assert logged.calls[0].intermediate == pytest.approx(0.25 - 0.2)


def test_an_answer_that_was_cut_short_is_known_as_such() -> None:
    """By its finish reason."""
    assert [read(transition(finish_reason=why)).calls[0].was_cut_short for why in ("length", "stop", None)] == [
        True,
        False,
        False,
    ]
