"""The DATA directory a command was given: is it there, and if it cannot be, why not."""

import errno
import re
from pathlib import Path

from foundation.errors import Busy, SettingsError, SpanloopError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
OF_THE_DISK = FULL | {errno.EFBIG, errno.EIO, errno.EROFS}

STORES = frozenset({"file", "s3", "gs", "az"})
"""Schemes of the URLs of stores (`foundation.store.opening`)."""


def url_of(path: Path) -> str | None:
    """Return the URL of a store that was given where a directory may be; None for a directory.

    Of a URL's slashes a path keeps one where there were several, and no store has an empty name in its URL.

    >>> url_of(Path("s3://bucket/spanloop")), url_of(Path("file:///mnt/spanloop")), url_of(Path("spanloop-data"))
    ('s3://bucket/spanloop', 'file:///mnt/spanloop', None)
    """
    found = re.fullmatch(f"({'|'.join(sorted(STORES))}):/(?P<rest>.*)", str(path))
    return None if found is None else f"{found[1]}://{'/' if found[1] == 'file' else ''}{found['rest']}"


def check_directory(data: Path) -> bool:
    """Tell whether DATA is there. Raises `SettingsError` when it can never be: a store, or something in its place."""
    if (url := url_of(data)) is not None:
        raise SettingsError(
            f"{url} is a store, and --data a directory of this machine",
            hint=f"--data DIR --store {url}; only `spanloop train run` takes its data from a store.",
        )
    try:
        if data.is_dir():
            next(data.iterdir(), None)
            return True
        if data.exists() or data.is_symlink():
            raise SettingsError(
                f"{data} is not a directory", hint="Name the directory that keeps everything: --data DIR"
            )
    except (OSError, ValueError) as error:
        raise unusable(data, error) from error
    return False


def require_directory(data: Path) -> None:
    """Raise `SettingsError` unless DATA is there: what is asked of it makes no sense of a name with a typo."""
    if not check_directory(data):
        raise SettingsError(f"there is no directory {data}", hint="Name the one the receiver writes to: --data DIR")


def unusable(data: Path, error: Exception) -> SettingsError | Busy:
    """Return what to say of a directory that an operation failed on."""
    reason = getattr(error, "strerror", None) or str(error)
    message = f"{str(data)[:200]} cannot be used: {reason}"
    if getattr(error, "errno", None) in FULL:
        return Busy(message, hint="Free some space; nothing acknowledged is lost.")
    return SettingsError(message, hint="Mend its permissions, run as the receiver's user, or name another: --data DIR")


def disk_refusal(error: OSError) -> SpanloopError | None:
    """Return what to say of an error of the disk that names no file; None for any other error, which is a bug.

    >>> disk_refusal(OSError(errno.ENOSPC, "No space left on device")).message
    'the disk refuses: No space left on device'
    """
    has_nowhere = isinstance(error, FileNotFoundError) and "temporary directory" in str(error.strerror)  # of tempfile's
    if error.errno not in OF_THE_DISK and not has_nowhere:
        return None
    kind = Busy if error.errno in FULL or has_nowhere else SpanloopError
    return kind(f"the disk refuses: {error.strerror}", hint="Free some space, or mend the disk, and try again.")
