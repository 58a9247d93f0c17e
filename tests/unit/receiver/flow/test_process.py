"""What is given back of memory that nobody needs."""

import ctypes
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from receiver.flow.process import give_back_code, give_back_freed


def resident_kb(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1])


def test_what_only_the_start_needed_is_given_back_and_nothing_breaks() -> None:
    """Most pages of code; what runs next reads them again, and no value has changed."""
    values = [random.Random(1).random() for _ in range(10_000)]
    before = resident_kb("RssFile")

    give_back_code()

    assert resident_kb("RssFile") < before / 2
    assert abs(pc.sum(pa.array(values)).as_py() - sum(values)) < 1e-9


def test_what_was_freed_below_something_that_is_still_held_is_given_back() -> None:
    """The allocator by itself gives back the end of its heap at most."""
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    blocks = [library.malloc(60_000) for _ in range(1000)]
    for block in blocks:
        ctypes.memset(block, 1, 60_000)
    for block in blocks[:-1]:
        library.free(block)
    before = resident_kb("RssAnon")

    give_back_freed()

    library.free(blocks[-1])
    assert resident_kb("RssAnon") < before - 40_000
