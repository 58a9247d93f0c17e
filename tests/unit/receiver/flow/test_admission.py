"""A request is taken while there is room for it, and what it took is given back."""

import threading
from pathlib import Path

import pytest

from receiver.decode.refusals import Overloaded
from receiver.flow import admission
from receiver.flow.admission import Admission
from receiver.log.disk import OsDisk, Space


class SmallDisk(OsDisk):
    free_bytes = 1000

    def space(self, directory: Path) -> Space:  # noqa: ARG002 - one disk, one size
        return Space(8000, self.free_bytes)


def make(tmp_path: Path, disk: SmallDisk | None = None) -> Admission:
    return Admission(
        tmp_path,
        disk or SmallDisk(),
        max_backlog_bytes=100,
        reserve_bytes=300,
        changed=threading.Condition(),
        landing_bytes=lambda: 0,
    )


def admit(admission: Admission, size_bytes: int) -> None:
    with admission._changed:
        admission.admit(size_bytes)


def test_a_full_backlog_refuses_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room that is given back is taken again."""
    monkeypatch.setattr(admission, "HOLD_S", 0.01)
    subject = make(tmp_path)
    admit(subject, 80)
    with pytest.raises(Overloaded, match="backlog"):
        admit(subject, 80)
    with subject._changed:
        subject.settle(80)

    admit(subject, 80)
    assert subject.backlog_bytes == 80


def test_one_request_larger_than_the_backlog_is_taken_alone(tmp_path: Path) -> None:
    """Otherwise it could never be."""
    subject = make(tmp_path)
    admit(subject, 200)

    assert subject.backlog_bytes == 200


def test_a_full_disk_refuses_until_there_is_room_for_as_much(tmp_path: Path) -> None:
    """Room for small requests is no room while a large one is refused."""
    disk = SmallDisk()
    subject = make(tmp_path, disk)
    with pytest.raises(Overloaded, match="disk is full"):
        admit(subject, 400)
    assert subject.refusal is not None

    disk.free_bytes = 2000
    assert subject.refusal is None
