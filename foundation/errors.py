"""Errors a user can act on, and the exit status each one ends a command with.

    SpanloopError              1  failed
    ├── SettingsError          2  wrong settings: retrying cannot help
    ├── GateRefused            3  a gate refused the result: the data or the model is not good enough
    └── Busy                  75  somebody else holds what we need: try again later (EX_TEMPFAIL of sysexits.h)

Anything else that escapes a command is a bug and keeps its traceback.
"""

from enum import IntEnum


class ExitStatus(IntEnum):
    """What a scheduler may conclude from the end of a command."""

    DONE = 0
    """Finished, also when there was nothing to do."""

    FAILED = 1
    """Something went wrong; the message says what."""

    SETTINGS = 2
    """The settings are wrong; running again will not help."""

    REFUSED = 3
    """A gate refused the result: too little data, or a worse model."""

    BUSY = 75
    """Another process holds a resource; run again later."""


class SpanloopError(Exception):
    """A problem with its value and place, and a hint that says the way out.

    >>> print(SpanloopError("port 4317 is in use", hint="Use --grpc 127.0.0.1:4327"))
    port 4317 is in use
    hint: Use --grpc 127.0.0.1:4327
    """

    exit_status = ExitStatus.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class SettingsError(SpanloopError):
    """A setting is unknown, malformed or contradicts another."""

    exit_status = ExitStatus.SETTINGS


class GateRefused(SpanloopError):
    """The result is not good enough to go on with."""

    exit_status = ExitStatus.REFUSED


class Busy(SpanloopError):
    """A lock, port or file is held by somebody else."""

    exit_status = ExitStatus.BUSY
