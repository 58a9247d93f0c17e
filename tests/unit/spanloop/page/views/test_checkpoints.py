"""What was said before and after, how a canary moved, and what no button does."""

from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.web.keys import Scope
from spanloop.page.entrance import NotYours, Visitor
from spanloop.page.views.checkpoints import act, compare, moved, said_in, show
from spanloop.page.visit import NotThere
from tests.unit.spanloop.page.visiting import Tables, see

ACT = "/checkpoints/{action}"


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ('{"text": "hi", "tool_calls": [{"name": "add", "arguments": {"a": "é"}}]}', 'hi\nadd({"a": "é"})'),
        ('{"text": null, "tool_calls": [7, {"name": "f"}]}', "f(null)"),
        ('{"text": "", "tool_calls": 7}', ""),
        ("{}", ""),
        ("[1]", "[1]"),
        ("no json", "no json"),
        (None, ""),
    ],
)
def test_an_action_is_what_was_said_and_called(action: object, said: str) -> None:
    """What is of another form is shown as it is."""
    assert said_in(action) == said


def test_a_look_at_a_canary_that_cannot_be_read_is_left_out() -> None:
    """Hours are counted from the first one."""
    course = [
        {"time": "2026-01-01T00:00:00+00:00", "metrics": {}},
        {"time": "2026-01-01T01:00:00+00:00", "metrics": {"reward": [-1, 0.5]}},
        {"time": "2026-01-01T02:00:00+00:00", "metrics": {"reward": [None, 0.5]}},
        {"time": "2026-01-01T03:00:00+00:00", "metrics": {"reward": [1, 2, 3]}},
        {"metrics": {"reward": [0, 1]}},
        {"time": "soon", "metrics": {"reward": [0, 1]}},
    ]

    assert moved(course, "reward") == {"low": [(1.0, -1.0)], "high": [(1.0, 0.5)]}


def test_a_button_acts_on_a_checkpoint_that_is_there(tmp_path: Path) -> None:
    """With its weights, for who may, and by a command there is: else nothing is done."""
    gone = tmp_path / "checkpoints" / "old"
    gone.mkdir(parents=True)
    (gone / "pruned.json").write_text("{}")
    form = {"checkpoint": "old"}

    with pytest.raises(NotThere, match="no such action"):
        see(act, "/checkpoints/remove", route=ACT, data=tmp_path, form=form)
    for wrong in (form, {"checkpoint": "../x"}, {}):
        with pytest.raises(SettingsError, match="no such checkpoint"):
            see(act, "/checkpoints/promote", route=ACT, data=tmp_path, form=wrong)
    with pytest.raises(NotYours):
        see(act, "/checkpoints/rollback", route=ACT, form={}, visitor=Visitor("q", "p", frozenset({Scope.QUERY})))


def test_a_registry_that_is_damaged_hides_no_checkpoint(tmp_path: Path) -> None:
    """And its trouble is told."""
    (tmp_path / "checkpoints" / "c1").mkdir(parents=True)
    (tmp_path / "checkpoints" / "c1" / "manifest.json").write_text("{")
    (tmp_path / "serve").mkdir()
    (tmp_path / "serve" / "registry.json").write_text("{")

    text = see(show, "/checkpoints", data=tmp_path).text

    assert ("c1" in text, "registry.json" in text) == (True, True)


def test_two_policies_are_compared_by_what_was_asked_last() -> None:
    """Of tasks that both tried, what differs first; a task is shown though its question cannot be read."""
    values = [
        ("1", "a", 1, "agreed", "[7]"), ("1", "b", 2, "agreed", "[7]"), ("2", "a", 1, "changed", "no"),
        ("2", "b", 2, "differs", "no"), ("3", "a", 1, "alone", ""),
    ]  # fmt: skip
    listed = ", ".join(f"('{t}', '{p}', {at}, '{said}', 0.5, '{seen}', 't{at}', 0)" for t, p, at, said, seen in values)
    table = (
        f"create table transitions as select * from (values {listed}) as"
        " t (task_id, policy_version, start_ns, action, outcome, observation, trace_id, step)"
    )

    text = see(compare, "/checkpoints/compare?before=a&after=b", tables=Tables([], table)).text

    assert "alone" not in text
    assert 0 < text.index("differs") < text.index("agreed")
