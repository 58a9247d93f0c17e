"""What a query's process and the receiver say to each other over pipes: JSON and bytes, each behind its length."""

import struct
from typing import Any, BinaryIO

import orjson

HEAD = struct.Struct("<cI")
DATA, ERROR, END = b"D", b"E", b"Z"

MAX_FRAME_BYTES = 1 << 20


class Broken(Exception):
    """The other side is gone."""


def send(pipe: BinaryIO, kind: bytes, content: bytes = b"") -> None:
    """Send one frame; more content than fits into one goes as several."""
    for start in range(0, max(1, len(content)), MAX_FRAME_BYTES):
        piece = content[start : start + MAX_FRAME_BYTES]
        pipe.write(HEAD.pack(kind, len(piece)) + piece)


def send_json(pipe: BinaryIO, kind: bytes, value: Any) -> None:  # noqa: ANN401 - any JSON
    """Send a JSON value as one frame."""
    content = orjson.dumps(value, default=str)
    pipe.write(HEAD.pack(kind, len(content)) + content)


def receive(pipe: BinaryIO) -> tuple[bytes, bytes]:
    """Return the kind and content of the next frame. Raises `Broken` when there is none."""
    kind, size = HEAD.unpack(_exactly(pipe, HEAD.size))
    return kind, _exactly(pipe, size)


def _exactly(pipe: BinaryIO, size: int) -> bytes:
    content = pipe.read(size) if size else b""
    if len(content) < size:
        raise Broken
    return content


class FrameWriter:
    """A write-only file whose content goes as frames."""

    closed = False

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe

    def write(self, chunk: bytes) -> int:
        """Send a piece."""
        send(self._pipe, DATA, bytes(chunk))
        return len(chunk)

    def flush(self) -> None:
        """Send what is held back."""
        self._pipe.flush()

    def close(self) -> None:
        """Take no more; whoever made this ends what it said."""
        self.closed = True


class FrameReader:
    """A read-only file over the data frames up to the next end."""

    closed = False

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._rest = b""
        self._is_over = False

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer only at the end."""
        pieces, missing = [self._rest], size - len(self._rest) if size >= 0 else 1 << 62
        while missing > 0 and not self._is_over:
            kind, content = receive(self._pipe)
            self._is_over = kind != DATA
            if not self._is_over:
                pieces.append(content)
                missing -= len(content)
        whole = b"".join(pieces)
        if size < 0:
            self._rest = b""
            return whole
        self._rest = whole[size:]
        return whole[:size]

    def drain(self) -> None:
        """Read to the end."""
        while not self._is_over:
            self._is_over = receive(self._pipe)[0] != DATA

    def close(self) -> None:
        """Leave the pipe open."""
        self.closed = True
