"""How much the reliability tests do: a short form in every run, the long one in `make reliability` and its kin."""

import os

IS_LONG = os.environ.get("RELIABILITY") == "long"
"""Not one of the variables that begin with SPANLOOP_: those are settings, and commands refuse what they do not know."""


def times(short: int, long: int) -> int:
    """Return how often to try."""
    return long if IS_LONG else short


def within(promised_s: float) -> float:
    """Return how many seconds a promise has: those promised in a long run, which has the machine to itself, else more.

    Parallel workers on a busy machine get six times less of it; what hangs, hangs for longer than that.
    """
    return promised_s * times(short=6, long=1)
