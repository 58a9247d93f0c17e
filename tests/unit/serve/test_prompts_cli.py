"""`spanloop prompts`: what is printed, and what is refused."""

import json
from pathlib import Path

import pytest

from foundation.errors import SettingsError, SpanloopError
from serve import prompts_cli as command
from serve.prompts import registry
from serve.prompts.settings import KeepConfig, PromptCanaryConfig, PromptConfig
from serve.settings import RegistryConfig


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "base.txt").write_text("Be kind.\n")
    (tmp_path / "better.txt").write_text("Be kind.\nBe \x1b[2Jbrief.\n")
    config = KeepConfig(data=tmp_path, agent="solver", base=tmp_path / "base.txt")
    command.keep(tmp_path / "better.txt", config=config)
    return tmp_path


def test_a_version_is_kept_shown_promoted_and_taken_back(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line end an editor leaves is none of the prompt's, and no text moves the terminal's cursor."""
    own = PromptConfig(data=data, agent="solver")
    command.diff(config=own)
    assert capsys.readouterr().out.splitlines()[2:] == ["@@ -1 +1,2 @@", " Be kind.", "+Be \\x1b[2Jbrief."]
    command.promote(1, config=own, dry_run=True)
    assert registry.require(data, "solver").live == 0
    command.promote(1, config=own)
    assert "+Be " in capsys.readouterr().err
    command.list_(config=RegistryConfig(data=data))
    assert "-> 1  of 0, by file" in capsys.readouterr().out
    command.list_(config=RegistryConfig(data=data), json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["agents"][0]["live"], found["agents"][0]["versions"][0]["text"]) == (1, "Be kind.\nBe \x1b[2Jbrief.")
    command.rollback(config=own)
    assert registry.require(data, "solver").live == 0


def test_what_cannot_be_is_said(data: Path) -> None:
    """No file, an empty one, no gateway to give a share of, no version of that number."""
    config = KeepConfig(data=data, agent="solver")
    (data / "empty.txt").write_text(" \n")
    for name, said in (("none.txt", "cannot be read"), ("empty.txt", "is empty")):
        with pytest.raises(SettingsError, match=said):
            command.keep(data / name, config=config)
    with pytest.raises(SpanloopError, match="no gateway serves"):
        command.canary(1, config=PromptCanaryConfig(data=data, agent="solver"))
    with pytest.raises(SettingsError, match="no version 9"):
        command.diff(0, 9, config=PromptConfig(data=data, agent="solver"))
