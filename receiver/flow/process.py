"""What the receiver asks of the machine for its process, and what it gives back of it."""

import contextlib
import ctypes
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of mallopt(3) in glibc."""

MADV_DONTNEED = 4
MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(\S*)")
"""The head of a mapping in /proc/PID/smaps: from, to, what may be done, file."""


def prepare_process() -> None:
    """Set this process up to run a receiver."""
    _keep_large_blocks()
    _allow_many_sockets()
    os.umask(0o077)  # what is stored here are other people's prompts


def _keep_large_blocks() -> None:
    """Have malloc reuse blocks of a request's size instead of mapping and clearing fresh pages for each."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(M_TRIM_THRESHOLD, 128 << 20)


def _allow_many_sockets() -> None:
    """Let this process hold as many sockets as it may at all; the usual first limit of 1,024 is one busy fleet."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def give_back_freed() -> None:
    """Give back memory that was freed: malloc keeps it, up to what each of its arenas held at most, whoever needed it.

    The pages come back, empty, as they are needed again.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        pa.default_memory_pool().release_unused()
        ctypes.CDLL(None).malloc_trim(0)


def give_back_code() -> None:
    """Give back, in an idle receiver, the pages of code that only a start ran.

    A page of a library that was never written to comes back out of its file when it is needed again, in microseconds;
    until then it counts as this process's memory for as long as it is mapped.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library or system
        library = ctypes.CDLL(None)
        for start, end in _unwritten():
            library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_DONTNEED)


def _unwritten() -> Iterator[tuple[int, int]]:
    """Yield the mappings of files that can be read, cannot be written, and hold no page of this process's own."""
    head: re.Match[str] | None = None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := MAPPING.match(line):
            head = found
        elif head is not None and line.startswith("Anonymous:"):
            is_clean = line.split()[1] == "0" and head[3].startswith("r-") and head[4].startswith("/")
            if is_clean:
                yield int(head[1], 16), int(head[2], 16)
