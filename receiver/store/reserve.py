"""How much of the disk the receiver leaves alone, so that what it has taken can always be landed.

A request is taken only while, after it and all that waits have been written to the log and to a day file at full size,
the reserve is still free. So it is the intake that meets a disk filling up, while the client still has its spans;
landing, sealing and retention never do, unless another program takes the space.
"""

from receiver.log.disk import Space
from receiver.log.wal import SEGMENT_BYTES

MEBIBYTE = 1 << 20
RESERVE_SHARE = 8
"""The reserve is at most this fraction of the disk, so that a small disk can be used at all."""

SEGMENT_SHARE = 32
"""A segment of the log is at most this fraction of the disk; recovery from a full one needs no more than a few."""


def reserve_bytes(space: Space, wanted_bytes: int) -> int:
    """Return how much of a disk stays free.

    >>> reserve_bytes(Space(total_bytes=100 << 30, free_bytes=0), 128 << 20) >> 20
    128
    >>> reserve_bytes(Space(total_bytes=64 << 20, free_bytes=0), 128 << 20) >> 20
    8
    """
    return min(wanted_bytes, space.total_bytes // RESERVE_SHARE)


def segment_bytes(space: Space) -> int:
    """Return the size of the log's segments on a disk: whole mebibytes, one at least.

    >>> segment_bytes(Space(total_bytes=100 << 30, free_bytes=0)) >> 20
    32
    >>> segment_bytes(Space(total_bytes=64 << 20, free_bytes=0)) >> 20
    2
    """
    share = space.total_bytes // SEGMENT_SHARE // MEBIBYTE * MEBIBYTE
    return max(MEBIBYTE, min(SEGMENT_BYTES, share))


def has_room(space: Space, *, waiting_bytes: int, size_bytes: int, reserve_bytes: int) -> bool:
    """Tell whether a request fits beside those that wait for their day file: once in the log, once in the file.

    >>> space = Space(total_bytes=1000, free_bytes=500)
    >>> has_room(space, waiting_bytes=100, size_bytes=50, reserve_bytes=300)
    True
    >>> has_room(space, waiting_bytes=101, size_bytes=50, reserve_bytes=300)
    False
    """
    return space.free_bytes - waiting_bytes - 2 * size_bytes >= reserve_bytes
