"""The window of receipt that a run covers; its name is part of the names of what it publishes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """Requests `since_seq` to `until_seq`, both included, in order of receipt."""

    since_seq: int
    until_seq: int

    @property
    def name(self) -> str:
        """Return the window's name, which sorts as its numbers do.

        >>> Window(1, 25).name
        '000000000001-000000000025'
        """
        return f"{self.since_seq:012d}-{self.until_seq:012d}"


@dataclass(frozen=True, slots=True)
class Windows(Window):
    """What each of several receivers took; as one window, the sums of their numbers."""

    each: tuple[tuple[int, int], ...] = ()
    """First and last new request of every receiver, in their order; nothing new: the first is after the last."""
