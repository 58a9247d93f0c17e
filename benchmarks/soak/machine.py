"""The machine of a process, as a soak has it fail: its clock jumps, its disk is slow or fails (`machine.c`)."""

import contextlib
import mmap
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
LAYOUT = struct.Struct("=qqq")


def build(directory: Path) -> Path:
    """Compile what is preloaded."""
    library = directory / "machine.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Machine:
    """What the processes started under it are told of clock and disk."""

    def __init__(self, library: Path, state: Path) -> None:
        self._environment = {"LD_PRELOAD": str(library), "SOAK_MACHINE": str(state)}
        state.write_bytes(LAYOUT.pack(0, 0, 0))
        with state.open("r+b") as file:
            self._state = mmap.mmap(file.fileno(), LAYOUT.size)

    @contextlib.contextmanager
    def under(self) -> Iterator[None]:
        """Have processes started in the block run on this machine."""
        before = {name: os.environ.get(name) for name in self._environment}
        os.environ.update(self._environment)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value

    @contextlib.contextmanager
    def failing(self, *, clock_s: int = 0, sync_ms: int = 0, has_io_errors: bool = False) -> Iterator[None]:
        """Let clock and disk be so for as long as the block runs."""
        self._state[:] = LAYOUT.pack(clock_s, sync_ms, has_io_errors)
        try:
            yield
        finally:
            self._state[:] = LAYOUT.pack(0, 0, 0)
