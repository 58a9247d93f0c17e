"""Versions of a prompt as the page shows them, and what no button does."""

from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.web.keys import Scope
from serve.prompts import registry
from serve.prompts.schema import prompts_path, version_path
from spanloop.page.entrance import NotYours, Visitor
from spanloop.page.views import prompts
from spanloop.page.views.prompts import act, difference, show
from spanloop.page.visit import NotThere
from tests.unit.spanloop.page.visiting import see

ACT = "/prompts/{action}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a directory with two versions of one agent's prompt."""
    registry.keep(tmp_path, "planner", "Be kind.\nBe brief.", base="Be kind.", is_template=False)
    registry.keep(tmp_path, "planner", "Be kind.\nBe exact.", parent=1)
    return tmp_path


def test_a_version_is_shown_by_what_it_changed(data: Path) -> None:
    """Of the one it was made from; the first, of what the agent sends."""
    second, first, sent = prompts._versions(data, registry.require(data, "planner"))

    assert [line for kind, line in second.lines if kind in {"added", "taken"}] == ["-Be brief.", "+Be exact."]
    assert [line for kind, line in first.lines if kind in {"added", "taken"}] == ["+Be brief."]
    assert (sent.number, sent.text) == (0, "Be kind.")


def test_a_version_that_cannot_be_read_hides_no_other(data: Path) -> None:
    """One that is gone, and one that is damaged: what was made from it says so too."""
    version_path(data, "planner", 1).write_text("{")
    assert [bool(one.problem) for one in prompts._versions(data, registry.require(data, "planner"))] == [
        True,
        True,
        False,
    ]
    version_path(data, "planner", 1).unlink()

    second, first, _ = prompts._versions(data, registry.require(data, "planner"))

    assert (second.problem, first.problem) == (None, "its file is gone")


def test_a_damaged_file_is_told(data: Path) -> None:
    """In the place of the prompts."""
    assert "planner" in see(show, "/prompts", data=data).text
    prompts_path(data).write_text("{")

    text = see(show, "/prompts", data=data).text

    assert ("planner" in text, prompts_path(data).name in text) == (False, True)


@pytest.mark.parametrize("version", ["", "3", "-1", "1.0", "²", "٣", "9" * 30])
def test_a_button_acts_on_a_version_there_is(data: Path, version: str) -> None:
    """What is no number of one becomes no word of a command."""
    with pytest.raises(SettingsError, match="no such version"):
        see(act, "/prompts/promote", route=ACT, data=data, form={"agent": "planner", "version": version})


def test_a_button_is_for_who_may_and_an_agent_there_is(data: Path) -> None:
    """And does what there is a command for."""
    with pytest.raises(SettingsError, match="no prompt"):
        see(act, "/prompts/rollback", route=ACT, data=data, form={"agent": "--all"})
    with pytest.raises(NotThere, match="no such action"):
        see(act, "/prompts/remove", route=ACT, data=data, form={"agent": "planner"})
    with pytest.raises(NotYours):
        see(
            act, "/prompts/rollback", route=ACT, data=data, form={}, visitor=Visitor("q", "p", frozenset({Scope.QUERY}))
        )


def test_lines_that_look_like_marks_are_of_the_text() -> None:
    """A prompt may begin its lines with signs."""
    assert [kind for kind, _ in difference("- a", "- a\n+ b\n@ c")] == ["place", "", "added", "added"]
