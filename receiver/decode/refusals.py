"""The ways a request is refused. Every transport spells each of them in its own words."""

RETRY_DELAY_S = 1
"""Advice to a refused client. SDK exporters have 10 s in all and give up at once on a longer one."""


class Undecodable(Exception):
    """The bytes are not an export request; sending them again cannot help."""


class TooLarge(Exception):
    """A request is larger than allowed, before or after inflation."""


class Overloaded(Exception):
    """The request cannot be kept now: the backlog is full or the disk refuses. The client should come again."""
