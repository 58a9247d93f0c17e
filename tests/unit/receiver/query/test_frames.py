"""Frames over a pipe: whole, in order, of any length, and a break told from an end."""

import io

import pytest

from receiver.query.frames import (
    DATA,
    END,
    ERROR,
    MAX_FRAME_BYTES,
    Broken,
    FrameReader,
    FrameWriter,
    receive,
    send,
    send_json,
)


def sent(*frames: tuple[bytes, bytes]) -> io.BytesIO:
    pipe = io.BytesIO()
    for kind, content in frames:
        send(pipe, kind, content)
    pipe.seek(0)
    return pipe


def test_frames_arrive_as_they_were_sent() -> None:
    """Empty ones too."""
    pipe = sent((DATA, b"abc"), (END, b""))
    send_json(end := io.BytesIO(), ERROR, {"a": 1})
    end.seek(0)

    assert [receive(pipe), receive(pipe), receive(end)] == [(DATA, b"abc"), (END, b""), (ERROR, b'{"a":1}')]


def test_long_content_goes_as_several_frames_and_is_read_as_one_file() -> None:
    """In pieces of any size, up to the end and not beyond."""
    content = bytes(range(256)) * (MAX_FRAME_BYTES // 128)
    pipe = io.BytesIO()
    FrameWriter(pipe).write(content)
    send(pipe, END)
    send(pipe, DATA, b"of the next answer")
    pipe.seek(0)
    reader = FrameReader(pipe)

    assert reader.read(10) + reader.read(MAX_FRAME_BYTES) + reader.read() == content
    assert reader.read(10) == b""
    assert receive(pipe) == (DATA, b"of the next answer")


def test_what_is_left_of_an_answer_can_be_skipped() -> None:
    """So that the next question is not answered by it."""
    pipe = sent((DATA, b"a"), (DATA, b"b"), (END, b""), (DATA, b"next"))
    reader = FrameReader(pipe)
    reader.read(1)

    reader.drain()

    assert receive(pipe) == (DATA, b"next")


def test_a_pipe_that_ends_within_a_frame_is_broken() -> None:
    """Be it in the head or in the content; nothing half is handed on."""
    whole = sent((DATA, b"abc")).getvalue()

    for length in (0, 3, len(whole) - 1):
        with pytest.raises(Broken):
            receive(io.BytesIO(whole[:length]))
