"""What the receiver asks of the machine for its process: memory that is reused, many sockets, files of its own."""

import contextlib
import ctypes
import os
import resource

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of mallopt(3) in glibc."""


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
