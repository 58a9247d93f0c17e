"""Candidates ranked before any is taught."""

from pathlib import Path

import pytest

from foundation.errors import SettingsError
from tests.fakes import CHAT_TEMPLATE, tiny_model
from tests.logged import frame
from tests.unit.train.distill.lessons import calling
from train.distill.students import count_weights, find_students, rank


def test_who_cannot_write_the_calls_comes_last(tmp_path: Path, model: Path) -> None:
    """Then how near they are by bytes, and a broken one says what is wrong with it."""
    mute = tiny_model(tmp_path / "mute")
    (mute / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("message.tool_calls or []", "[]"))
    sure = tiny_model(tmp_path / "far", scale=1.5)
    (tmp_path / "broken").mkdir()
    rows = frame([calling(f"t{task}", "add", {"a": task}) for task in range(20)])

    ranked = rank([mute, tmp_path / "broken", sure, model], rows)

    assert [each.model for each in ranked[:2]] == [str(model), str(sure)]
    assert [each.is_able for each in ranked] == [True, True, False, False]
    assert {each.trouble is None for each in ranked if each.name == "broken"} == {False}
    assert ranked[0].num_weights == count_weights(model) > 10_000
    assert ranked[0].rendered_tools == 1.0
    assert ranked[0].nats_per_byte is not None


def test_nobody_to_rank_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    """An empty cache and no name; a name goes before the cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SettingsError, match="no student"):
        find_students((), None)
    assert find_students((), model) == [model]
    assert find_students((model,), None) == [model]


def test_weights_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """Cut off on their way; where others are ranked beside it, it comes last."""
    cut = tiny_model(tmp_path / "cut")
    (weights,) = cut.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:7])

    with pytest.raises(SettingsError, match=r"model\.safetensors cannot be read"):
        count_weights(cut)
    (found,) = rank([cut], frame([calling("t", "add", {"a": 1})]))
    assert "cannot be read" in str(found.trouble)
