"""How much the reliability tests do: a short form in every run, the long one in `make reliability`."""

import os

IS_LONG = os.environ.get("SPANLOOP_RELIABILITY") == "long"


def times(short: int, long: int) -> int:
    """Return how often to try."""
    return long if IS_LONG else short
