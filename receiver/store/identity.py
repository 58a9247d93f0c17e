"""Which spans were stored before: a compact filter over their identities that never forgets one.

A Bloom filter in layers, each twice as large as the one before. It may take a new span for a known one, about once in a
hundred thousand; the caller then looks. What it calls new is new. Some 4 bytes a span, whatever the ids are.
"""

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foundation.files import write_atomically

Hashes = npt.NDArray[np.uint64]

BITS_A_SPAN = 32
NUM_PROBES = 8
FIRST_LAYER_SPANS = 1 << 18
TRACE_WORDS, SPAN_WORDS = 4, 2
"""An id in hex, as words of eight characters."""


def hashes(batch: pa.RecordBatch | pa.Table) -> Hashes:
    """Return a 64-bit hash of (project, trace_id, span_id) for each row."""
    if isinstance(batch, pa.Table):
        parts = [hashes(part) for part in batch.to_batches()]
        return np.concatenate(parts) if parts else np.empty(0, np.uint64)
    words = np.hstack([_words(batch["trace_id"], TRACE_WORDS), _words(batch["span_id"], SPAN_WORDS)])
    mixed = _project_seeds(batch["project"])
    for column in range(TRACE_WORDS + SPAN_WORDS):
        mixed = _mix(mixed ^ words[:, column])
    return mixed


def _words(ids: pa.StringArray, num_words: int) -> npt.NDArray[np.uint64]:
    start = ids.offset
    offsets = np.frombuffer(ids.buffers()[1], np.int32, len(ids) + 1, start * 4)
    size = num_words * 8
    assert len(ids) == 0 or int(offsets[-1] - offsets[0]) == size * len(ids), "ids of another length are never stored"
    if len(ids) == 0:
        return np.empty((0, num_words), np.uint64)
    text = np.frombuffer(ids.buffers()[2], np.uint8, size * len(ids), int(offsets[0]))
    return text.view(np.uint64).reshape(len(ids), num_words) if text.flags.aligned else text.copy().view(np.uint64)


def _project_seeds(projects: pa.StringArray) -> Hashes:
    if len(projects) == 0:
        return np.empty(0, np.uint64)
    encoded = projects.dictionary_encode()
    seeds = [
        int.from_bytes(hashlib.blake2b(project.encode(), digest_size=8).digest(), "little")
        for project in encoded.dictionary.to_pylist()
    ]
    # Not `to_numpy`, which imports pandas where that is installed.
    indices = np.frombuffer(encoded.indices.buffers()[1], np.int32, len(projects), encoded.indices.offset * 4)
    of_rows: Hashes = np.array(seeds, np.uint64)[indices]
    return of_rows


def _mix(words: Hashes) -> Hashes:
    """Spread every bit over all others (the finalizer of SplitMix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = words ^ (words >> np.uint64(31))
    return mixed


class IdentityFilter:
    """The identities of the spans of one day."""

    def __init__(self) -> None:
        self._layers: list[npt.NDArray[np.uint8]] = []
        self._room = 0

    def contains(self, wanted: Hashes) -> npt.NDArray[np.bool_]:
        """Tell which of the identities may have been added; False is certain."""
        found = np.zeros(len(wanted), np.bool_)
        for layer in self._layers:
            candidates = np.arange(len(wanted))  # a new identity drops out at the first or second probe
            for probe in range(NUM_PROBES):
                places, bits = _place(wanted[candidates], probe, layer)
                candidates = candidates[layer[places] & bits != 0]
                if len(candidates) == 0:
                    break
            found[candidates] = True
        return found

    def add(self, new: Hashes) -> None:
        """Remember identities."""
        if len(new) == 0:
            return
        if self._room < len(new):
            self._room = max(FIRST_LAYER_SPANS << len(self._layers), 1 << (len(new) - 1).bit_length())
            self._layers.append(np.zeros(self._room * BITS_A_SPAN // 8, np.uint8))
        layer = self._layers[-1]
        for probe in range(NUM_PROBES):
            places, bits = _place(new, probe, layer)
            np.bitwise_or.at(layer, places, bits)
        self._room -= len(new)

    def save(self, path: Path, *, num_rows: int, reached_seq: int) -> None:
        """Keep the filter in a file, with the number of rows it stands for: those of the requests up to a number.

        Others may be in it too; it may be added to meanwhile.
        """
        layers = list(self._layers)
        head = np.array([num_rows, reached_seq, self._room, *(len(layer) for layer in layers)], np.uint64)
        body = b"".join([len(head).to_bytes(8, "little"), head.tobytes(), *(bytes(x) for x in layers)])
        write_atomically(path, MAGIC + _checksum(body) + body)

    @classmethod
    def load(cls, path: Path) -> "Kept | None":
        """Read a filter and what it stands for; None when there is no whole one of this version."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        body = memoryview(content)[len(MAGIC) + 8 :]
        if content[:8] != MAGIC or content[8:16] != _checksum(body):
            return None
        start = 24 + 8 * int.from_bytes(content[16:24], "little")
        head = np.frombuffer(content[24:start], np.uint64)
        loaded = cls()
        loaded._room = int(head[2])
        for size in head[3:]:
            loaded._layers.append(np.frombuffer(content, np.uint8, int(size), start).copy())
            start += int(size)
        return Kept(loaded, int(head[0]), int(head[1]))


@dataclass(frozen=True)
class Kept:
    """A filter that was kept in a file."""

    identities: IdentityFilter
    num_rows: int
    """Rows of the requests up to `reached_seq`, all of which are in it."""
    reached_seq: int


MAGIC = b"spanids3"
"""Names the version too: an older file is built anew from the day's rows."""


def _checksum(body: bytes | memoryview) -> bytes:
    return zlib.crc32(body).to_bytes(8, "little")


def _place(identities: Hashes, probe: int, layer: npt.NDArray[np.uint8]) -> tuple[Hashes, npt.NDArray[np.uint8]]:
    """Return the byte and the bit in it that a probe looks at: double hashing, over a power of two of bits."""
    step = (identities >> np.uint64(32)) | np.uint64(1)
    bit = (identities + np.uint64(probe) * step) & np.uint64(len(layer) * 8 - 1)
    return bit >> np.uint64(3), np.left_shift(np.uint8(1), (bit & np.uint64(7)).astype(np.uint8))
