"""The DATA directory a command was given: is it there, and if it cannot be, why not."""

import errno
from pathlib import Path

from foundation.errors import Busy, SettingsError


def check_directory(data: Path) -> bool:
    """Tell whether DATA is there. Raises `SettingsError` when it can never be: something else stands in its place."""
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
    if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}:
        return Busy(message, hint="Free some space; nothing acknowledged is lost.")
    return SettingsError(message, hint="Mend its permissions, run as the receiver's user, or name another: --data DIR")
