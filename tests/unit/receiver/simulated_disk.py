"""A disk that loses power: what was not synced survives sector by sector, or not, as the dice fall.

Small and simple: whole files in memory, one flat directory tree, no permissions. Operations can also fail the way real
ones do: no space, an I/O error, a short write, a failed fsync that drops the pages it could not write.
"""

import errno
import random
from collections.abc import Sequence
from pathlib import Path

from receiver.log.disk import Space

SECTOR = 512


class PowerLoss(BaseException):
    """The machine is off; nothing may catch this."""


class _Inode:
    def __init__(self) -> None:
        self.cached = bytearray()
        self.durable = bytearray()
        self.dirty: set[int] = set()


class SimulatedDisk:
    """A `receiver.log.disk.Disk` in memory; `crash` gives the disk as the next start finds it."""

    def __init__(self, seed: int, *, fail_rate: float = 0.0, operations: int | None = None) -> None:
        self._random = random.Random(seed)
        self._fail_rate = fail_rate
        self._operations_left = operations
        self._names: dict[Path, _Inode] = {}
        self._durable_names: dict[Path, _Inode] = {}
        self._handles: dict[int, _Inode] = {}

    def crash(self, seed: int, *, fail_rate: float = 0.0, operations: int | None = None) -> "SimulatedDisk":
        after = type(self)(seed, fail_rate=fail_rate, operations=operations)
        survivors: dict[int, _Inode] = {}
        for path in sorted({*self._names, *self._durable_names}):
            now, before = self._names.get(path), self._durable_names.get(path)
            inode = now if now is before or self._random.random() < 0.5 else before
            if inode is None:
                continue
            if id(inode) not in survivors:
                survivors[id(inode)] = self._what_survives(inode)
            after._names[path] = after._durable_names[path] = survivors[id(inode)]
        return after

    def _what_survives(self, inode: _Inode) -> _Inode:
        kept = _Inode()
        content = bytearray(inode.durable)
        share = self._random.random()
        for sector in sorted(inode.dirty):
            if self._random.random() < share:
                piece = inode.cached[sector * SECTOR : (sector + 1) * SECTOR]
                content.extend(bytes(max(0, sector * SECTOR + len(piece) - len(content))))
                content[sector * SECTOR : sector * SECTOR + len(piece)] = piece
        kept.cached, kept.durable = bytearray(content), content
        return kept

    def _step(self, *, can_fail: bool = True) -> None:
        if self._operations_left is not None:
            self._operations_left -= 1
            if self._operations_left < 0:
                raise PowerLoss
        if can_fail and self._random.random() < self._fail_rate:
            raise OSError(self._random.choice([errno.ENOSPC, errno.EIO]), "simulated")

    def list(self, directory: Path) -> list[Path]:
        return sorted(path for path in self._names if path.parent == directory)

    def make_directory(self, directory: Path) -> None:  # noqa: ARG002 - directories are not simulated
        self._step(can_fail=False)

    def read(self, path: Path) -> bytes:
        return bytes(self._names[path].cached)

    def create(self, path: Path) -> int:
        self._step()
        assert path not in self._names
        self._names[path] = _Inode()
        return self._handle(path)

    def open(self, path: Path) -> int:
        self._step()
        return self._handle(path)

    def _handle(self, path: Path) -> int:
        handle = len(self._handles)
        self._handles[handle] = self._names[path]
        return handle

    def write(self, handle: int, parts: Sequence[bytes], offset: int) -> None:
        inode = self._handles[handle]
        data = b"".join(parts)
        try:
            self._step()
        except BaseException:
            self._put(inode, data[: self._random.randrange(len(data) + 1)], offset)
            raise
        self._put(inode, data, offset)

    @staticmethod
    def _put(inode: _Inode, data: bytes, offset: int) -> None:
        inode.cached.extend(bytes(max(0, offset + len(data) - len(inode.cached))))
        inode.cached[offset : offset + len(data)] = data
        inode.dirty.update(range(offset // SECTOR, (offset + max(len(data), 1) - 1) // SECTOR + 1))

    def sync(self, handle: int) -> None:
        inode = self._handles[handle]
        try:
            self._step()
        except OSError:
            inode.dirty = {sector for sector in inode.dirty if self._random.random() < 0.5}
            raise
        inode.durable = bytearray(inode.cached)
        inode.dirty.clear()

    def close(self, handle: int) -> None:
        del self._handles[handle]
        self._handles[len(self._handles) + 1_000_000] = _Inode()

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        self._names[target] = self._names.pop(source)

    def unlink(self, path: Path) -> None:
        self._step()
        self._names.pop(path, None)

    def sync_directory(self, directory: Path) -> None:
        self._step()
        for path in [path for path in self._durable_names if path.parent == directory]:
            del self._durable_names[path]
        self._durable_names.update({path: inode for path, inode in self._names.items() if path.parent == directory})

    def space(self, directory: Path) -> Space:  # noqa: ARG002 - one disk
        return Space(1 << 40, 1 << 40)


class NeverSyncs(SimulatedDisk):
    """What a log would do that forgets fdatasync."""

    def sync(self, handle: int) -> None:  # noqa: ARG002 - the mistake
        self._step()


class NeverSyncsDirectories(SimulatedDisk):
    """What a log would do that forgets the names of its files."""

    def sync_directory(self, directory: Path) -> None:  # noqa: ARG002 - the mistake
        self._step()
