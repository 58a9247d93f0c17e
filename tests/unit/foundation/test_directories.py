"""Which directories can be DATA, and what is said of those that cannot."""

import errno
from pathlib import Path

import pytest

from foundation.directories import check_directory, require_directory, unusable
from foundation.errors import Busy, SettingsError


def test_what_can_be_no_directory_is_a_wrong_setting(tmp_path: Path) -> None:
    """What is not there yet may be made; a file, or a link that leads nowhere, never becomes one."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "gone")

    assert check_directory(tmp_path)
    assert not check_directory(tmp_path / "new")
    for name in ("file", "link"):
        with pytest.raises(SettingsError, match="not a directory"):
            check_directory(tmp_path / name)
    with pytest.raises(SettingsError, match="cannot be used"):
        check_directory(tmp_path / ("x" * 300))


def test_a_directory_that_must_be_there_is_named_when_it_is_not(tmp_path: Path) -> None:
    """A name with a typo is no empty DATA."""
    require_directory(tmp_path)
    with pytest.raises(SettingsError, match="there is no directory"):
        require_directory(tmp_path / "typo")


def test_only_a_full_disk_passes_by_itself(tmp_path: Path) -> None:
    """The rest needs somebody to mend it."""
    assert isinstance(unusable(tmp_path, OSError(errno.ENOSPC, "No space left on device")), Busy)
    assert isinstance(unusable(tmp_path, OSError(errno.EACCES, "Permission denied")), SettingsError)
