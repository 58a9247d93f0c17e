"""Which checkpoint is live: promote, roll back, and a trail of every change.

The registry is one file replaced by rename, so it is whole whenever one looks. The audit line of a change is on disk
before the change shows, and is taken back where the change fails; a crash between the two leaves a line of a change
that never was, which is left out when the trail is read and cut off at the next change. Callers hold
`serve.schema.lock_path`.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foundation.errors import SettingsError, SpanloopError
from foundation.files import replacing, sync_directory
from serve.engines.adapters import whole_model
from serve.schema import Canary, Registry, audit_path, encode_registry, read_registry, registry_path
from train.schema import model_version

KEPT_PREVIOUS = 50
"""How many former checkpoints the registry remembers; the audit trail remembers all."""


class NothingBefore(SettingsError):
    """There is no checkpoint to return to."""


def initialise(data: Path, model: Path, base: str) -> Registry:
    """Make a model live where nothing was."""
    return _change(data, None, _entry(base, model, model_version(model), ()), "initialise")


def promote(
    data: Path,
    checkpoint: Path,
    version: str | None = None,
    *,
    behavior: bool | None = None,
    reason: str | None = None,
) -> Registry:
    """Make a checkpoint live and remember the one before it. Promoting the live one changes nothing.

    `version` is the checkpoint's `model_version`, for callers that know it already: finding it may mean hashing.
    `behavior` is what the gate on behavior said, null where it was not asked. A canary ends with either.
    """
    current = require(data)
    version = version or model_version(checkpoint)
    if Path(current.live) == checkpoint.resolve() and current.live_version == version:
        return current
    previous = (*current.previous, current.live)[-KEPT_PREVIOUS:]
    return _change(
        data, current, _entry(current.base, checkpoint, version, previous), "promote", behavior=behavior, reason=reason
    )


def rollback(
    data: Path, target: Path | None = None, version: str | None = None, *, behavior: bool | None = None
) -> Registry:
    """Make the checkpoint live that was live before. Doing it twice goes back two.

    Target and version are for callers that looked them up before; a target that is no longer the one before is a bug.
    """
    current = require(data)
    found = rollback_target(current)
    assert target is None or target == found, "the registry changed under its lock's holder"
    version = version or model_version(found)
    return _change(
        data, current, _entry(current.base, found, version, current.previous[:-1]), "rollback", behavior=behavior
    )


def start_canary(data: Path, canary: Canary, *, behavior: bool | None = None) -> Registry:
    """Give a checkpoint its first share of the calls; `behavior` as in `promote`, and about the canary."""
    current = require(data)
    assert current.canary is None, "one canary at a time"
    return _change(data, current, _with_canary(current, canary), "canary_start", behavior=behavior)


def widen_canary(data: Path, share: float, reason: str) -> Registry:
    """Give the canary a larger share."""
    current = require(data)
    assert current.canary is not None, "there is a canary"
    now = datetime.now(UTC).isoformat()
    canary = current.canary.model_copy(update={"share": share, "share_time": now})
    return _change(data, current, _with_canary(current, canary), "canary_widen", reason=reason)


def end_canary(data: Path, reason: str) -> Registry:
    """Take the canary away; the live model answers everything again."""
    return _change(data, current := require(data), _with_canary(current, None), "canary_rollback", reason=reason)


def _with_canary(current: Registry, canary: Canary | None) -> Registry:
    return current.model_copy(update={"canary": canary, "changed_time": datetime.now(UTC).isoformat()})


def rollback_target(registry: Registry) -> Path:
    """Return the checkpoint a rollback would make live."""
    if not registry.previous:
        raise NothingBefore(f"{registry.live_version} is the first model that was served: nothing to roll back to")
    return Path(registry.previous[-1])


def require(data: Path) -> Registry:
    """Return the registry, or say that nothing was ever served."""
    registry = read_registry(data)
    if registry is None:
        raise SettingsError(
            f"{data} has no live model: {registry_path(data)} does not exist",
            hint="Serve one first: spanloop serve run --data DIR --model PATH",
        )
    return registry


def live_directory(registry: Registry) -> Path:
    """Return the directory of the live model, or say that it is gone."""
    live = Path(registry.live)
    if not live.is_dir():
        raise SettingsError(
            f"the live model {registry.live_version} is gone: {live} is no directory",
            hint="Put it back, or make another live: spanloop serve rollback --data DIR, or promote.",
        )
    return live


def read_audit(data: Path) -> list[dict[str, Any]]:
    """Return the trail, oldest first: without a line a crash left unfinished, or of a change that never was."""
    trail = _read_lines(data)
    current = read_registry(data)
    return trail if current is None else trail[: _num_in_force(trail, current)]


def _read_lines(data: Path) -> list[dict[str, Any]]:
    try:
        content = audit_path(data).read_bytes()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def _num_in_force(trail: Sequence[Mapping[str, Any]], current: Registry) -> int:
    """Return how many lines are about changes that came: all but a last one that is ahead of the registry."""
    is_ahead = len(trail) > 1 and trail[-2]["time"] == current.changed_time != trail[-1]["time"]
    return len(trail) - is_ahead


def behaves(trail: Iterable[Mapping[str, Any]], version: str) -> bool:
    """Tell whether a version ever passed the gate on behavior, as it was promoted or became a canary.

    Where it did not, nobody asked: it was the first model, forced, promoted without a gateway or without held-out
    prompts. A line with a canary is about that one, any other about what went live.

    >>> behaves([{"canary": "b", "to": "a", "behavior": True}, {"canary": None, "to": "b", "behavior": None}], "b")
    True
    """
    return any(line.get("behavior") and (line.get("canary") or line["to"]) == version for line in trail)


def behavior_of(data: Path, current: Registry) -> str:
    """Say whether the live version passed the gate on behavior when it became so."""
    return "passed" if behaves(read_audit(data), current.live_version) else "not asked"


def change_report(before: Registry, after: Registry) -> dict[str, Any]:
    """Return what a change of the registry is reported with."""
    return {
        "base": after.base,
        "live": after.live,
        "live_version": after.live_version,
        "previous_version": before.live_version,
        "changed": before.live_version != after.live_version,
    }


def _entry(base: str, model: Path, version: str, previous: tuple[str, ...]) -> Registry:
    if not (whole_model(model) / "config.json").exists():
        raise SpanloopError(f"{model} is not a model directory: it has no config.json")
    return Registry(
        base=base,
        live=str(model.resolve()),
        live_version=version,
        previous=previous,
        changed_time=datetime.now(UTC).isoformat(),
    )


def _change(
    data: Path,
    current: Registry | None,
    new: Registry,
    action: str,
    *,
    behavior: bool | None = None,
    reason: str | None = None,
) -> Registry:
    registry_path(data).parent.mkdir(parents=True, exist_ok=True)
    _repair_audit(data, current)
    before = None if current is None else current.live_version
    with _taken_back(audit_path(data)), replacing(registry_path(data), encode_registry(data, new)):
        _append_audit(data, action, before, new, behavior=behavior, reason=reason)
    return new


@contextlib.contextmanager
def _taken_back(path: Path) -> Iterator[None]:
    """Give a file that the block appends to its former length again where the block fails."""
    length = path.stat().st_size if path.exists() else 0
    try:
        yield
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.truncate(path, length)  # needs no room
        raise


def _repair_audit(data: Path, current: Registry | None) -> None:
    """Finish what a crash interrupted: cut off an unfinished line, or one of a change that never was.

    Where the trail is behind (it was removed, or restored from an older backup), a line says where the registry is.
    """
    path = audit_path(data)
    content = path.read_bytes() if path.exists() else b""
    lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
    num_kept = len(lines)
    if current is not None:
        num_kept = _num_in_force([json.loads(line) for line in lines], current)
    whole = sum(map(len, lines[:num_kept]))
    if whole < len(content):
        os.truncate(path, whole)
    if current is not None and (not num_kept or json.loads(lines[num_kept - 1])["time"] != current.changed_time):
        before = json.loads(lines[num_kept - 1])["to"] if num_kept else None
        with _taken_back(path):
            _append_audit(data, "recovered", before, current)


def _append_audit(
    data: Path,
    action: str,
    before: str | None,
    new: Registry,
    *,
    behavior: bool | None = None,
    reason: str | None = None,
) -> None:
    path = audit_path(data)
    is_new = not path.exists()
    line = {
        "time": new.changed_time,
        "action": action,
        "from": before,
        "to": new.live_version,
        "checkpoint": new.live,
        "canary": None if new.canary is None else new.canary.version,
        "share": None if new.canary is None else new.canary.share,
        "behavior": behavior,
        "reason": reason,
    }
    with path.open("ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync_directory(path.parent)
