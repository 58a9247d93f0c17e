"""What serving publishes: which checkpoint is live, and where the gateway answers. Imports nothing heavy.

    DATA/serve/registry.json      the live checkpoint, the one before it, canary share; replaced by rename
    DATA/serve/audit.jsonl        one line a change: when, what, from, to, by which command
    DATA/serve/server.json        address and pid of the gateway, while one runs

Agents ask for the alias `<base>:live` (or any name the gateway lists); promotion changes no client.
"""

from pathlib import Path

from foundation.settings import Settings

SCHEMA_VERSION = 1


class Registry(Settings):
    """Which checkpoint is live and which was before."""

    schema_version: int = SCHEMA_VERSION
    """Version of this file's layout."""

    base: str
    """Name agents use, without the `:live`."""

    live: str
    """Directory of the live checkpoint."""

    live_version: str
    """Its checkpoint id: the policy version recorded on every span."""

    previous: tuple[str, ...] = ()
    """Directories that were live before, newest last."""

    changed_time: str
    """UTC, ISO 8601."""


def registry_path(data: Path) -> Path:
    """Return the path of the registry."""
    return data / "serve" / "registry.json"


def read_registry(data: Path) -> Registry | None:
    """Return the registry of DATA, or None before anything was served."""
    try:
        return Registry.model_validate_json(registry_path(data).read_bytes())
    except FileNotFoundError:
        return None
