"""A checkpoint on its way to a gateway: what is missing is sent, and a way that breaks is gone on from there."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import Busy
from serve.change import carrying
from serve.change.carrying import carry
from serve.change.incoming import Incoming


class Breaking:
    """A gateway whose way breaks after so many pieces, again and again."""

    def __init__(self, data: Path, *, after: int = 1_000_000) -> None:
        self.incoming = Incoming(data)
        self.after = after
        self.sent: list[tuple[str, str, int]] = []

    async def act(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        return await {"offer": self.incoming.offer, "settle": self.incoming.settle}[action](
            json.loads(json.dumps(body))
        )

    async def send(self, name: str, file: str, offset: int, piece: bytes) -> None:
        async def content() -> Any:
            yield piece

        await self.incoming.take(name, file, offset, content())
        self.sent.append((name, file, offset))
        if len(self.sent) % self.after == 0:
            raise Busy("the way broke")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    made = tmp_path / "here" / "20260101T020000-1a2b3c4d"
    made.mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "empty.txt").write_text("")
    (made / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (made / "credit.parquet").write_text("every call")
    (made / "manifest.json").write_text("{}")
    return made


def test_a_way_that_breaks_is_gone_on_from_there(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte is sent twice, and what only a trainer needs stays."""
    monkeypatch.setattr(carrying, "PIECE_BYTES", 4096)
    monkeypatch.setattr(carrying, "FIRST_WAIT_S", 0.0)
    gateway = Breaking(tmp_path / "there", after=2)

    place = Path(asyncio.run(carry(gateway, checkpoint)))

    assert place == tmp_path / "there" / "checkpoints" / checkpoint.name
    for path in place.iterdir():
        assert path.read_bytes() == (checkpoint / path.name).read_bytes()
    assert {path.name for path in checkpoint.iterdir()} - {path.name for path in place.iterdir()} == {"credit.parquet"}
    pieces = [offset for _, file, offset in gateway.sent if file == "model.safetensors"]
    assert pieces == [0, 4096, 8192]
    asyncio.run(carry(gateway, checkpoint))
    assert [offset for _, file, offset in gateway.sent if file == "model.safetensors"] == pieces


def test_a_way_that_stays_broken_is_given_up(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the status that means `try again`; what came by then is there."""
    monkeypatch.setattr(carrying, "FIRST_WAIT_S", 0.0)
    gateway = Breaking(tmp_path / "there")

    async def refuse(*_: Any) -> None:
        raise Busy("no way")

    monkeypatch.setattr(gateway, "send", refuse)
    with pytest.raises(Busy, match="no way"):
        asyncio.run(carry(gateway, checkpoint))


def test_an_adapter_brings_its_base(tmp_path: Path, checkpoint: Path) -> None:
    """Beside it, where it is looked for."""
    adapter = tmp_path / "here" / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(checkpoint)}))
    gateway = Breaking(tmp_path / "there")

    place = Path(asyncio.run(carry(gateway, adapter)))

    assert (place.parent / checkpoint.name / "model.safetensors").exists()
    assert place.name == "adapter"
