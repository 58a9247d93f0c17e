"""Inflating: every encoding, cut at the limit, in time that grows with the bytes whatever they are cut into."""

import gzip
import random
import zlib

import pyarrow as pa
import pytest

from receiver.decode.refusals import TooLarge, Undecodable
from receiver.intake.bodies import INFLATERS, MAX_MEMBERS


def zstd(data: bytes) -> bytes:
    compressed: bytes = pa.Codec("zstd").compress(data).to_pybytes()
    return compressed


COMPRESS = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd}
SAMPLES = (b"", b"x", b"abc" * 50_000, random.Random(7).randbytes(300_000))


@pytest.mark.parametrize("encoding", INFLATERS)
def test_what_was_compressed_comes_back(encoding: str) -> None:
    """Empty, small, repetitive and incompressible data alike; and to the byte at the limit."""
    for sample in SAMPLES:
        assert INFLATERS[encoding](COMPRESS[encoding](sample), len(sample)) == sample


@pytest.mark.parametrize("encoding", INFLATERS)
def test_a_byte_more_than_the_limit_is_too_large(encoding: str) -> None:
    """Whether it compresses well or not at all."""
    for sample in SAMPLES[1:]:
        with pytest.raises(TooLarge):
            INFLATERS[encoding](COMPRESS[encoding](sample), len(sample) - 1)


@pytest.mark.parametrize("encoding", INFLATERS)
def test_what_is_cut_short_or_something_else_is_undecodable(encoding: str) -> None:
    """It is never taken for less than it was."""
    whole = COMPRESS[encoding](SAMPLES[3])
    for damaged in (whole[:-3], whole[:100], b"nonsense", b"\0" * 50):
        with pytest.raises(Undecodable):
            INFLATERS[encoding](damaged, 1 << 20)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_members_are_joined(encoding: str) -> None:
    """A body may be several, also empty ones in between."""
    parts = [b"one", b"", b"two" * 1000, b"", b"three"]

    assert INFLATERS[encoding](b"".join(map(COMPRESS[encoding], parts)), 1 << 20) == b"".join(parts)


def test_as_many_members_as_an_honest_body_may_have_and_no_more() -> None:
    """Each costs something however empty it is; millions of them held honest bodies up for minutes."""
    empty = gzip.compress(b"")

    assert INFLATERS["gzip"](empty * MAX_MEMBERS, 1 << 20) == b""
    with pytest.raises(Undecodable, match="members"):
        INFLATERS["gzip"](empty * 200_000, 1 << 20)
