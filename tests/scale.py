"""How much the reliability tests do: a short form in every run, the long one in `make reliability` and its kin."""

import os

IS_LONG = os.environ.get("RELIABILITY") == "long"
"""Not one of the variables that begin with SPANLOOP_: those are settings, and commands refuse what they do not know."""


def times(short: int, long: int) -> int:
    """Return how often to try."""
    return long if IS_LONG else short
