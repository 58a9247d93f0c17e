"""Which checkpoints are kept: the newest, and whatever is live, may be rolled back to, is being tried or is a base."""

from pathlib import Path

from foundation.narration import get_logger
from serve.schema import Registry
from train.schema import CREDIT_FILE, MANIFEST, PRUNED, read_manifest

log = get_logger("nightly")

REMEMBERED = frozenset({CREDIT_FILE, "metrics.jsonl", PRUNED})
"""Files that stay of a checkpoint whose weights go: what its calls were credited with, and where it came from."""


def choose_superseded(out: Path, registry: Registry, *, keep: int) -> list[Path]:
    """Return the checkpoints that may go, oldest first: neither among the newest `keep`, nor needed by anybody.

    Needed are the live one, those before it that the registry names, the canary, and the bases of adapters that stay.
    """
    whole = sorted(path.resolve() for path in out.iterdir() if (path / MANIFEST).is_file()) if out.is_dir() else []
    canary = [registry.canary.checkpoint] if registry.canary is not None else []
    needed = {Path(name).resolve() for name in (registry.live, *registry.previous, *canary)} | set(whole[-keep:])
    for path in list(needed):
        if (path / MANIFEST).is_file() and (base := read_manifest(path).base) is not None:
            needed.add(Path(base.path).resolve())
    return [path for path in whole if path not in needed]


def prune(out: Path, registry: Registry, *, keep: int) -> list[str]:
    """Remove the weights of superseded checkpoints and return their names.

    A directory is no checkpoint any more from the first step on, so that nobody meets half of one.
    """
    removed = []
    for path in choose_superseded(out, registry, keep=keep):
        (path / MANIFEST).rename(path / PRUNED)
        for file in path.iterdir():
            if file.is_file() and file.name not in REMEMBERED:
                file.unlink()
        removed.append(path.name)
    if removed:
        log.info("removed superseded checkpoints", number=len(removed), kept=keep)
    return removed
