"""A model as the judge of single calls."""

import json
from pathlib import Path

import pytest

from foundation.errors import SettingsError, SpanloopError
from tests.logged import frame
from tests.unit.spanloop.replay.test_asking import answering
from tests.unit.train.distill.lessons import call
from train.distill.judging import KEPT, judge_calls
from train.distill.settings import DistillConfig


def test_a_judge_gives_numbers_or_nothing(tmp_path: Path) -> None:
    """It is shown the call as data; without the name of its model nobody is asked."""
    said = [{"choices": [{"message": {"content": text}}]} for text in ('{"score": 9}', "well, 9 of 10", '{"score":0}')]
    with answering(*((200, each) for each in said)) as (url, asked):
        config = DistillConfig(data=tmp_path, judge=url, judge_model="judge")
        rows = [frame([call(task, "1", outcome=None)]) for task in "abc"]
        found = [judge_calls(each, config) for each in rows]

    assert [list(each.values()) for each in found] == [[0.9], [], [0.0]]
    assert json.loads(asked[0]["body"]["messages"][1]["content"])["answer"] == rows[0]["action"][0]
    with pytest.raises(SettingsError, match="name of its model"):
        judge_calls(rows[0], DistillConfig(data=tmp_path, judge="http://127.0.0.1:9/v1"))
    with pytest.raises(SettingsError, match="no address"):
        judge_calls(rows[0], DistillConfig(data=tmp_path, judge="nowhere", judge_model="judge"))


def test_a_judge_that_is_away_ends_the_run(tmp_path: Path) -> None:
    """Half of the judgements would be a choice by chance."""
    config = DistillConfig(data=tmp_path, judge="http://127.0.0.1:9/v1", judge_model="judge")
    with pytest.raises(SpanloopError, match="cannot be asked"):
        judge_calls(frame([call("a", "1", outcome=None)]), config)


def test_no_judgement_is_paid_for_twice(tmp_path: Path) -> None:
    """After a run that was killed in the middle of a line too; another question is asked."""
    said = [{"choices": [{"message": {"content": '{"score": 9}'}}]}] * 2
    rows = frame([call(task, "1", outcome=None) for task in "ab"])
    with answering(*((200, each) for each in said)) as (url, asked):
        config = DistillConfig(data=tmp_path, judge=url, judge_model="judge")
        first = judge_calls(rows[:1], config)
        with (tmp_path / KEPT).open("a") as file:
            file.write('{"asked": "0')
        both, again = judge_calls(rows, config), judge_calls(rows, config)

    assert len(asked) == 2
    assert list(both.values()) == [0.9, 0.9]
    assert again == both
    assert first.items() < both.items()
