"""Checkpoints that come from another machine: gone on with, believed by their digests, never half in place."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from serve.change.incoming import Incoming, NotTaken

FILES = {"config.json": b"{}", "model.safetensors": b"w" * 1000, "manifest.json": b"{1}"}


def offer(files: dict[str, bytes] | None = None, name: str = "night") -> dict[str, Any]:
    described = {file: [len(body), hashlib.sha256(body).hexdigest()] for file, body in (files or FILES).items()}
    return {"name": name, "files": described}


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body


def send(incoming: Incoming, file: str, body: bytes, offset: int = 0) -> int:
    return asyncio.run(incoming.take("night", file, offset, pieces(body)))


def missing(incoming: Incoming, files: dict[str, bytes] | None = None) -> dict[str, int]:
    found: dict[str, int] = asyncio.run(incoming.offer(offer(files)))["missing"]
    return found


def settle(incoming: Incoming, files: dict[str, bytes] | None = None) -> Path:
    return Path(asyncio.run(incoming.settle(offer(files)))["checkpoint"])


def test_a_checkpoint_comes_in_pieces_and_takes_its_place_whole(tmp_path: Path) -> None:
    """Also after the gateway was started anew in between."""
    incoming = Incoming(tmp_path)
    assert missing(incoming) == dict.fromkeys(FILES, 0)
    send(incoming, "config.json", FILES["config.json"])
    send(incoming, "model.safetensors", FILES["model.safetensors"][:400])

    incoming = Incoming(tmp_path)
    assert missing(incoming) == {"model.safetensors": 400, "manifest.json": 0}
    assert not (tmp_path / "checkpoints" / "night").exists()
    send(incoming, "model.safetensors", FILES["model.safetensors"][400:], 400)
    send(incoming, "manifest.json", FILES["manifest.json"])

    place = settle(incoming)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == FILES
    assert place == tmp_path / "checkpoints" / "night"
    assert missing(incoming) == {}
    assert settle(incoming) == place


def test_what_came_otherwise_than_offered_is_not_put_in_place_and_sent_again(tmp_path: Path) -> None:
    """A bit that flipped on the way, a file that is too long, a piece that is not the next."""
    incoming = Incoming(tmp_path)
    for file, body in FILES.items():
        send(incoming, file, body)
    with pytest.raises(NotTaken, match="has 1000 bytes here, and what came begins at 0"):
        send(incoming, "model.safetensors", b"again")
    staged = tmp_path / "checkpoints" / ".incoming-night" / "model.safetensors"
    staged.write_bytes(b"x" + FILES["model.safetensors"][1:])

    with pytest.raises(NotTaken, match=r"model\.safetensors of night is not what was offered"):
        settle(incoming)
    assert missing(incoming)["model.safetensors"] == 0
    staged.write_bytes(b"w" * 2000)
    assert missing(incoming)["model.safetensors"] == 0
    staged.write_bytes(b"x" * 1000)
    assert missing(incoming)["model.safetensors"] == 0


def test_a_gates_report_that_was_added_later_follows(tmp_path: Path) -> None:
    """The manifest alone is sent, and replaced."""
    incoming = Incoming(tmp_path)
    for file, body in FILES.items():
        send(incoming, file, body)
    settle(incoming)
    judged = FILES | {"manifest.json": b"{judged}"}

    assert missing(incoming, judged) == {"manifest.json": 0}
    send(incoming, "manifest.json", b"{judged}")
    place = settle(incoming, judged)

    assert (place / "manifest.json").read_bytes() == b"{judged}"
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["night"]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"name": "night", "files": {}},
        offer(name=".."),
        offer(name="a/b"),
        offer(name=".incoming-night"),
        offer({"../registry.json": b"x"}),
        offer({".hidden": b"x"}),
        {"name": "night", "files": {"a": [-1, "0" * 64]}},
        {"name": "night", "files": {"a": [1, "digest"]}},
        {"name": 5, "files": {"a": [1, "0" * 64]}},
    ],
)
def test_what_would_lead_out_of_the_checkpoints_is_no_offer(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Nor is what has no name, no file, no size or no digest."""
    incoming = Incoming(tmp_path)
    with pytest.raises(NotTaken, match="offers no checkpoint"):
        asyncio.run(incoming.offer(wrong))
    with pytest.raises(NotTaken, match="names no file"):
        asyncio.run(incoming.take("..", "registry.json", 0, pieces(b"x")))
    assert list(tmp_path.iterdir()) == []
