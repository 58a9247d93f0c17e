"""Chosen calls as the student's tokens, whole tasks held out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.errors import GateRefused, SettingsError
from tests.fakes import CHAT_TEMPLATE, tiny_model
from tests.logged import publish
from tests.unit.train.distill.lessons import call, calling
from train.distill.preparing import prepare
from train.distill.settings import DistillConfig


def some(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [call(f"t{task}", f"it is {task}", **fields) for task in range(count)]


def config(data: Path, model: Path, **settings: Any) -> DistillConfig:
    return DistillConfig(data=data, model=model, **({"min_calls": 4} | settings))


def test_tasks_are_held_out_as_the_etl_has_them(tmp_path: Path, model: Path) -> None:
    """The others are taught; what is held out weighs nothing and is no lesson."""
    rows = some(12) + [call(f"h{task}", f"no {task}", split="heldout") for task in range(3)]

    lesson = prepare(config(publish(tmp_path, rows), model), model)

    assert (len(lesson.taught), len(lesson.examined)) == (12, 3)
    weight = {each.span_id: w for each, w in zip(lesson.plan.logged.calls, lesson.plan.route.weight, strict=True)}
    assert {span for span, w in weight.items() if not w} == {"h0-0", "h1-0", "h2-0"}
    assert lesson.teachers == {"gpt-4o-mini": 15}
    assert lesson.plan.facts["num_taught_calls"] == 12


def test_without_a_hold_out_one_task_in_ten_is_kept_back(tmp_path: Path, model: Path) -> None:
    """By its hash, so that the next run keeps back the same."""
    rows = some(60) + some(60, number=1, question="again?")

    lesson = prepare(config(publish(tmp_path, rows), model), model)

    held, taught = (
        {calls[int(index)].span_id.split("-")[0] for each in sequences for index in each.calls}
        for calls, sequences in ((lesson.plan.logged.calls, lesson.examined), (lesson.plan.logged.calls, lesson.taught))
    )
    assert held
    assert not held & taught
    assert len(held) < 20


def test_nobody_rewarded_is_not_rewarded_with_one(tmp_path: Path, model: Path) -> None:
    """What a call is chosen by is no outcome of its."""
    rows = some(12, outcome=None) + some(3, outcome=None, split="heldout", number=1, question="?")

    lesson = prepare(config(publish(tmp_path, rows), model), model)

    assert np.isnan([episode.outcome for episode in lesson.plan.logged.episodes]).all()


def test_a_template_that_cannot_call_tools_is_refused(tmp_path: Path) -> None:
    """It would teach words in the place of deeds."""
    model = tiny_model(tmp_path / "model")
    (model / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("message.tool_calls or []", "[]"))
    rows = [calling(f"t{task}", "add", {"a": task}) for task in range(20)]

    with pytest.raises(SettingsError, match="writes 0 of 20 tool calls"):
        prepare(config(publish(tmp_path / "data", rows), model), model)


def test_a_system_message_all_have_may_be_left_out(tmp_path: Path, model: Path) -> None:
    """Where there are two of them, neither is."""
    asked = [[{"role": "system", "text": "Be brief."}, {"role": "user", "text": f"{task}?"}] for task in range(30)]
    rows = [call(f"t{task}", str(task), observation=json.dumps(asked[task])) for task in range(30)]
    kept = prepare(config(publish(tmp_path / "a", rows), model), model)
    pruned = prepare(config(publish(tmp_path / "b", rows), model, prune=True), model)

    assert pruned.pruned is not None
    assert len(pruned.taught[0].ids) < len(kept.taught[0].ids)
    with pytest.raises(SettingsError, match="2 different system messages"):
        prepare(config(publish(tmp_path / "c", [*rows, call("x", "1")]), model, prune=True), model)


def test_too_little_is_refused_with_what_there_was(tmp_path: Path, model: Path) -> None:
    """Nothing published, no content, nothing left."""
    with pytest.raises(GateRefused, match="no transition is published"):
        prepare(config(tmp_path, model), model)
    empty = publish(tmp_path / "empty", some(5, action=None, observation=None, outcome=None))
    with pytest.raises(GateRefused, match="5 no_content") as refusal:
        prepare(config(empty, model), model)
    assert "CAPTURE_MESSAGE_CONTENT" in str(refusal.value.hint)
    with pytest.raises(SettingsError, match="no directory"):
        prepare(config(tmp_path / "nowhere", model), model)
