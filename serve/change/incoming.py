"""Checkpoints that come from another machine: taken in pieces, gone on with after a break, believed by their digests.

    DATA/checkpoints/.incoming-<name>/    what came so far
    DATA/checkpoints/<name>/              whole: it takes its place by rename, or file by file where it is there already

The sender offers its files with sizes and digests, is told what is missing and from where on, sends that, and asks for
all of it to be put in its place.
"""

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from foundation.errors import SpanloopError
from foundation.files import make_directory, sync_directory
from train.schema import MANIFEST

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
DIGEST = re.compile(r"[0-9a-f]{64}")
MAX_FILES = 1000


class NotTaken(SpanloopError):
    """What was offered or sent is no checkpoint, or not the one that was offered."""


class Incoming:
    """Takes checkpoints into DATA."""

    def __init__(self, data: Path) -> None:
        self._checkpoints = data.resolve() / "checkpoints"
        self._lock = asyncio.Lock()

    async def offer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Say which of the offered files are missing, and how much of each has come already."""
        name, files = _read_offer(request)
        async with self._lock:
            return {"missing": await asyncio.to_thread(self._missing, name, files)}

    async def take(self, name: str, file: str, offset: int, content: AsyncIterator[bytes]) -> int:
        """Append to a file what comes; return its length. Raises `NotTaken` where that is not how long it is."""
        if not (NAME.fullmatch(name) and NAME.fullmatch(file)):
            raise NotTaken(f"{name[:200]!r}/{file[:200]!r} names no file of a checkpoint")
        async with self._lock:
            staging = self._staging(name)
            await asyncio.to_thread(make_directory, staging)
            with (staging / file).open("ab") as target:
                if target.tell() != offset:
                    raise NotTaken(f"{file} has {target.tell()} bytes here, and what came begins at {offset}")
                async for piece in content:
                    await asyncio.to_thread(target.write, piece)
                return target.tell()

    async def settle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Put a checkpoint that has come in its place, once every file has the digest it was offered with."""
        name, files = _read_offer(request)
        async with self._lock:
            return {"checkpoint": str(await asyncio.to_thread(self._settle, name, files))}

    def _missing(self, name: str, files: Mapping[str, tuple[int, str]]) -> dict[str, int]:
        missing = {}
        for file, (size, digest) in files.items():
            placed, staged = self._checkpoints / name / file, self._staging(name) / file
            if _is(placed, size, digest):
                continue
            if staged.exists() and (staged.stat().st_size > size or _is_other(staged, size, digest)):
                staged.unlink()
            if not staged.exists() or staged.stat().st_size < size:
                missing[file] = staged.stat().st_size if staged.exists() else 0
        return missing

    def _settle(self, name: str, files: Mapping[str, tuple[int, str]]) -> Path:
        target, staging = self._checkpoints / name, self._staging(name)
        came = [file for file, known in files.items() if not _is(target / file, *known)]
        for file in came:
            if not _is(staging / file, *files[file]):
                (staging / file).unlink(missing_ok=True)
                raise NotTaken(f"{file} of {name} is not what was offered", hint="Send it again.")
            with (staging / file).open("rb") as whole:
                os.fsync(whole.fileno())
        if came and not target.exists():
            for path in staging.iterdir():
                if path.name not in files:
                    path.unlink()
            sync_directory(staging)
            staging.replace(target)
        else:
            for file in sorted(came, key=lambda file: file == MANIFEST):  # the manifest last: it says what the rest is
                (staging / file).replace(target / file)
            sync_directory(target)
            shutil.rmtree(staging, ignore_errors=True)
        sync_directory(self._checkpoints)
        return target

    def _staging(self, name: str) -> Path:
        return self._checkpoints / f".incoming-{name}"


def _read_offer(request: Mapping[str, Any]) -> tuple[str, dict[str, tuple[int, str]]]:
    """Return the name and, by file, size and digest of an offer. Raises `NotTaken` for what is none."""
    try:
        name, files = (
            request["name"],
            {file: (int(size), str(digest)) for file, (size, digest) in request["files"].items()},
        )
        is_one = bool(NAME.fullmatch(name)) and 0 < len(files) <= MAX_FILES
        is_one &= all(
            NAME.fullmatch(file) and size >= 0 and DIGEST.fullmatch(digest) for file, (size, digest) in files.items()
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        is_one = False
    if not is_one:
        raise NotTaken("this offers no checkpoint: a name, and files with their sizes and digests")
    return name, files


def _is(path: Path, size: int, digest: str) -> bool:
    return path.is_file() and path.stat().st_size == size and digest_of(path) == digest


def _is_other(path: Path, size: int, digest: str) -> bool:
    """Tell whether a file came whole, and is not what was offered."""
    return path.stat().st_size == size and digest_of(path) != digest


def digest_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
