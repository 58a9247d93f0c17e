"""Which directories can be DATA, and what is said of those that cannot."""

import errno
from pathlib import Path

import pytest

from foundation.directories import check_directory, disk_refusal, require_directory, unusable, url_of
from foundation.errors import Busy, SettingsError, SpanloopError


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


def test_an_error_of_the_disk_without_a_file_is_told_and_any_other_is_a_bug() -> None:
    """Also where there is no room for a temporary directory, which the library says as a file that is missing."""
    nowhere = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
    found = [disk_refusal(error) for error in (OSError(errno.ENOSPC, "full"), nowhere, OSError(errno.EIO, "I/O"))]
    assert [type(each) for each in found] == [Busy, Busy, SpanloopError]
    assert disk_refusal(OSError(errno.EBADF, "Bad file descriptor")) is None
    assert disk_refusal(FileNotFoundError(errno.ENOENT, "No such file")) is None


@pytest.mark.parametrize("url", ["s3://bucket/spanloop", "file:///mnt/spanloop", "gs://bucket"])
def test_the_url_of_a_store_is_no_directory(url: str) -> None:
    """Believed, nothing would be read of it, and something written beside it; the flag that takes it is named."""
    assert url_of(Path(url)) == url
    with pytest.raises(SettingsError, match="is a store") as refused:
        check_directory(Path(url))
    assert f"--store {url}" in (refused.value.hint or "")
