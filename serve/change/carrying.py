"""Brings a checkpoint to the machine of a gateway: what is missing there, in pieces, from where the last try ended."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from foundation.errors import Busy, SpanloopError
from foundation.narration import get_logger
from serve.change.incoming import digest_of
from serve.engines.adapters import adapter_base
from train.schema import CREDIT_FILE

log = get_logger("serve")

PIECE_BYTES = 16 << 20
"""What one request carries: little enough to be sent again."""

TRIES = 8
"""How often in a row the way may break with nothing more having come."""

FIRST_WAIT_S = 0.5

LEFT_BEHIND = frozenset({CREDIT_FILE})
"""Files that are of use to whoever trains, and not to who serves: they name every call that was learned from."""


class Gateway(Protocol):
    """The gateway's control endpoint, from here."""

    async def act(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for something and return the answer."""
        ...

    async def send(self, name: str, file: str, offset: int, piece: bytes) -> None:
        """Send a piece of a file. Raises `Busy` where the way broke."""
        ...


async def carry(gateway: Gateway, checkpoint: Path) -> str:
    """Bring a checkpoint to the gateway, an adapter with its base; return its directory there.

    What is there already, under its name and with its digests, is not sent.
    """
    base = adapter_base(checkpoint)
    if base is not None:
        await _carry(gateway, base)
    return await _carry(gateway, checkpoint)


async def _carry(gateway: Gateway, directory: Path) -> str:
    files = await asyncio.to_thread(_files, directory)
    offer = {"name": directory.resolve().name, "files": files}
    failures, left = 0, len(files) + sum(size for size, _ in files.values())
    while True:
        try:
            missing = (await gateway.act("offer", offer))["missing"]
            still = sum(1 + files[file][0] - came for file, came in missing.items())
            failures, left = (0, still) if still < left else (failures, left)
            await _send(gateway, directory, files, missing)
            return str((await gateway.act("settle", offer))["checkpoint"])
        except Busy as error:
            failures += 1
            if failures == TRIES:
                raise
            log.warning("the way to the gateway broke; going on from there", reason=error.message)
            await asyncio.sleep(FIRST_WAIT_S * 2**failures)


async def _send(
    gateway: Gateway, directory: Path, files: Mapping[str, tuple[int, str]], missing: Mapping[str, int]
) -> None:
    for name, begin in missing.items():
        offset, size = begin, files[name][0]
        log.info("carrying", file=name, bytes=size - offset, already=offset)
        with (directory / name).open("rb") as file:
            file.seek(offset)
            while True:  # once at least: an empty file is one as well
                piece = await asyncio.to_thread(file.read, PIECE_BYTES)
                await gateway.send(directory.resolve().name, name, offset, piece)
                offset += len(piece)
                if offset >= size:
                    break
                if not piece:
                    raise SpanloopError(f"{directory / name} became shorter while it was read", hint="Try again.")


def _files(directory: Path) -> dict[str, tuple[int, str]]:
    """Return size and digest of each file, by name."""
    paths = sorted(path for path in directory.iterdir() if path.is_file() and not path.name.startswith("."))
    return {path.name: (path.stat().st_size, digest_of(path)) for path in paths if path.name not in LEFT_BEHIND}
