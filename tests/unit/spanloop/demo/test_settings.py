"""Sizes of a demo: each default is of its task, and what was asked for stands."""

import pytest

from spanloop.demo.settings import DemoConfig, TaskName


@pytest.mark.parametrize("task", ["calculator", "spider"])
def test_quick_is_less_of_the_same_task(task: TaskName) -> None:
    """In no part more."""
    whole, quick = DemoConfig(task=task), DemoConfig(task=task, quick=True)

    assert all(few <= many for few, many in zip(quick.sizes, whole.sizes, strict=True))
    assert quick.sizes != whole.sizes
    assert quick.attempts_each == whole.attempts_each


def test_no_nights_at_all_can_be_asked_for() -> None:
    """What there is before any: 0 is no default."""
    assert DemoConfig(nights=0).sizes[0] == 0
    assert DemoConfig(nights=0, quick=True).sizes == (0, *DemoConfig(quick=True).sizes[1:])


def test_each_size_is_asked_for_by_itself() -> None:
    """The others keep their defaults."""
    usual = DemoConfig()

    assert DemoConfig(problems=8).sizes == (usual.sizes[0], 8, usual.sizes[2])
    assert DemoConfig(heldout=8).sizes == (*usual.sizes[:2], 8)
    assert DemoConfig(attempts=3).attempts_each == 3
