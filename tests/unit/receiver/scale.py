"""How much the reliability tests do: a short form in every run, the long one in `make reliability`."""

import os

SWITCH = "SPANLOOP_RELIABILITY"
"""Environment variable of the test run; commands under test do not know it and would refuse it."""

IS_LONG = os.environ.get(SWITCH) == "long"


def times(short: int, long: int) -> int:
    """Return how often to try."""
    return long if IS_LONG else short
