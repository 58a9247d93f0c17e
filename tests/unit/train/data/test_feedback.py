"""What was said of calls in words: whose it is, how it is told, and what the model makes of its answers then."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from foundation.errors import GateRefused, SettingsError
from foundation.report import RunReport
from tests.fakes import byte_tokenizer, tiny_model
from tests.logged import publish, transition
from train.data.feedback import MOST_CHARACTERS, read_feedback, tell
from train.data.lineage import UNTRAINED
from train.data.render import make_prompt
from train.engine.learner import Learner
from train.engine.objective import MOST_HINDSIGHT
from train.engine.pack import MicroBatch
from train.engine.policy import load_policy
from train.equipment import make_learner
from train.plan import Plan, make_plan, read_limits
from train.run import train
from train.settings import TrainConfig

ASKED = [{"role": "user", "text": "7 - 2?"}]
ANSWER = [40, 41, 42]
SCORE: dict[str, Any] = {"project": "test", "judges": "call", "name": "judge", "value": 0.0, "used": True}
TOOL: dict[str, Any] = {"project": "test", "name": "calculator"}


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model with random weights whose template writes chats."""
    path = tiny_model(tmp_path_factory.mktemp("chatty"))
    byte_tokenizer(path)
    return path


def rows(number: int = 40, **fields: Any) -> list[dict[str, Any]]:
    """Return episodes of one call, half of them good."""
    return [
        transition(
            episode_id=f"e{index}", span_id=f"s{index}", task_id=f"t{index % 8}", outcome=float(index % 2),
            observation=json.dumps(ASKED), response_token_ids=ANSWER, behavior_logprobs=[-5.0] * len(ANSWER),
        ) | fields
        for index in range(number)
    ]  # fmt: skip


def told(data: Path, model: Path, **settings: Any) -> tuple[Plan, TrainConfig]:
    vocabulary_size, max_length = read_limits(model)
    config = TrainConfig(data=data, model=model, max_mismatch=99, **{"recipe": "feedback", **settings})
    return make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length), config


def test_words_belong_to_the_call_or_to_all_of_its_episode(tmp_path: Path) -> None:
    """Scores of a call and errors of the tools it called to the call; other scores that count to the whole episode."""
    data = publish(
        tmp_path,
        rows(),
        rewards=[
            SCORE | {"episode_id": "e0", "judged_span_id": "s0", "explanation": " Not a number. "},
            SCORE | {"episode_id": "e0", "span_id": "s0", "explanation": "Not a number."},
            SCORE | {"episode_id": "e1", "judges": "episode", "explanation": "Rude."},
            SCORE | {"episode_id": "e2", "used": False, "explanation": "Of another judge."},
            SCORE | {"episode_id": "e2", "explanation": "  "},
            SCORE | {"episode_id": None, "explanation": "Of nobody."},
        ],
        tool_calls=[
            TOOL | {"episode_id": "e3", "caused_by_span_id": "s3", "error": "division by zero"},
            TOOL | {"episode_id": "e3", "caused_by_span_id": "s3", "error": None},
            TOOL | {"episode_id": "e3", "caused_by_span_id": None, "error": "of nobody's"},
        ],
    )

    assert read_feedback(data) == {
        ("test", "e0", "s0"): ["Not a number."],
        ("test", "e1", ""): ["Rude."],
        ("test", "e3", "s3"): ["division by zero"],
    }


def test_what_is_told_is_bounded_and_keeps_both_ends() -> None:
    """A verdict begins with what matters, a traceback ends with it."""
    said = tell(["wrong " + "x" * 99_999 + " ZeroDivisionError"])

    assert len(said) < MOST_CHARACTERS + 100
    assert "- wrong x" in said
    assert said.endswith("ZeroDivisionError")


@pytest.mark.parametrize(
    ("messages", "written"),
    [
        (ASKED, "<|user|>7 - 2?\n\nsaid<|end|><|assistant|>"),
        (
            [*ASKED, {"role": "tool", "text": "5"}],
            "<|user|>7 - 2?<|end|><|tool|>5<|end|><|user|>said<|end|><|assistant|>",
        ),
        ([{"role": "user", "text": "", "media": [{}]}], None),
    ],
)
def test_it_is_told_by_the_model_s_own_template(chatty: Path, messages: list[dict[str, Any]], written: str) -> None:
    """Behind the user's last words, or as a user's message; not where there is a picture, which is no text."""
    from transformers import AutoTokenizer

    ids = make_prompt(chatty)(messages, None, "said")

    assert (None if ids is None else AutoTokenizer.from_pretrained(chatty).decode(ids)) == written


def streams(learner: Learner) -> MicroBatch:
    """Return the sampled tokens of all sequences in one pass, every stream filled in."""
    batches = list(learner.share(learner.plan.sequences))
    assert len(batches) == 1
    return batches[0][0]


def test_hindsight_is_added_to_the_tokens_of_the_calls_it_is_of(tmp_path: Path, chatty: Path) -> None:
    """By how much likelier the model finds each of them once it was told, and not to others."""
    score = SCORE | {"episode_id": "e0", "judged_span_id": "s0", "explanation": "Not a number."}
    plan, config = told(publish(tmp_path, rows(), rewards=[score]), chatty, feedback=0.5)
    learner = make_learner(Accelerator(cpu=True), load_policy(chatty), plan, config)
    learner.prepare()
    batch = streams(learner)
    with torch.no_grad():
        sampled, _ = learner.sample(batch)
        model = load_policy(chatty)
        given = []
        for prompt in (plan.hindsight[0].ids[: -len(ANSWER)], plan.sequences[0].ids[: -len(ANSWER)]):
            ids = torch.tensor([[*prompt, *ANSWER]])
            logits = model(input_ids=ids).logits[0, -len(ANSWER) - 1 : -1].float().log_softmax(-1)
            given.append(logits.gather(-1, torch.tensor(ANSWER)[:, None]).squeeze(-1))

    of_it = batch.calls == 0
    gain = (given[0] - given[1]).clamp(-MOST_HINDSIGHT, MOST_HINDSIGHT)
    assert plan.facts["num_feedback_calls"] == len(plan.hindsight) == 1
    assert (plan.hindsight[0].call != UNTRAINED).sum() == len(ANSWER)
    assert gain.abs().max() > 1e-3
    torch.testing.assert_close((sampled.advantages - batch.advantages)[of_it], 0.5 * gain, atol=1e-4, rtol=0)
    assert (sampled.advantages == batch.advantages)[~of_it].all()


def test_words_teach_where_all_outcomes_of_a_call_were_expected(tmp_path: Path, chatty: Path) -> None:
    """A call whose advantage is 0 has a gradient once something was said of it, unless its loss has no use for it."""
    scores = [SCORE | {"episode_id": "e0", "judged_span_id": "s0", "explanation": "Not a number."}]
    data = publish(tmp_path, rows(), rewards=scores)
    for loss, teaches in (("cispo", True), ("rft", False)):
        plan, config = told(data, chatty, loss=loss, credit="return_to_go")
        plan.advantages[:] = 0
        learner = make_learner(Accelerator(cpu=True), load_policy(chatty), plan, config)
        found = [learner.objective.teaches(sequence) for sequence in plan.sequences]
        assert found[0] is teaches
        assert loss == "rft" or not any(found[1:])


def test_a_run_with_words_makes_a_checkpoint(tmp_path: Path, chatty: Path) -> None:
    """Of errors of tools; the report says of how many calls something was said."""
    failed = [
        TOOL | {"episode_id": f"e{i}", "caused_by_span_id": f"s{i}", "error": "no number"} for i in range(0, 40, 2)
    ]
    plan, config = told(publish(tmp_path, rows(), tool_calls=failed), chatty, kl_budget=9)
    report = RunReport("train run", {})

    checkpoint = train(config, plan, report)

    assert checkpoint is not None
    assert plan.facts["num_feedback_calls"] == 20


def test_where_nothing_was_said_the_run_is_refused(tmp_path: Path, chatty: Path) -> None:
    """As it was asked to learn from words; a critic of tokens and words do not go together either."""
    with pytest.raises(GateRefused, match="nothing was said in words") as refused:
        told(publish(tmp_path, rows()), chatty)

    assert "--feedback" in str(refused.value.hint)
    with pytest.raises(SettingsError, match="feedback adds to advantages of calls"):
        TrainConfig(model=chatty, loss="ppo", token_critic=True, feedback=1.0)


def test_an_answer_that_no_longer_fits_behind_what_is_told_has_no_hindsight(tmp_path: Path, chatty: Path) -> None:
    """The others have theirs."""
    scores = [
        SCORE | {"episode_id": "e0", "judged_span_id": "s0", "explanation": "Not a number."},
        SCORE | {"episode_id": "e1", "judged_span_id": "s1", "explanation": "x" * 1500},
    ]
    data = publish(tmp_path, rows(), rewards=scores)
    config = TrainConfig(data=data, model=chatty, max_mismatch=99, recipe="feedback")
    vocabulary_size, _ = read_limits(chatty)

    plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=1000)

    assert [int(each.call[-1]) for each in plan.hindsight] == [0]
    assert np.isnan(plan.hindsight[0].behavior_logprobs).sum() == 0
