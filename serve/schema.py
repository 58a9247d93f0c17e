"""What serving publishes: which checkpoint is live, and where the gateway answers. Imports nothing heavy.

    DATA/serve/registry.json      the live checkpoint and those before it; replaced by rename
    DATA/serve/audit.jsonl        one line a change: when, what, from, to, canary and its share, why
    DATA/serve/gates/             what the gate on behavior found, one file a checkpoint
    DATA/serve/server.json        where the gateway and its control endpoint answer, while one runs; mode 0600
    DATA/serve/probes/            what a model without probes of its own answered when it was freshly loaded
    DATA/serve/engine.log         output of the engine

Agents ask for the alias `<base>:live` (or any name the gateway lists); promotion changes no client.
"""

from pathlib import Path

from foundation.settings import Settings

SCHEMA_VERSION = 1


class Canary(Settings):
    """A checkpoint that answers a share of the calls, until it is live or gone."""

    checkpoint: str
    """Its directory."""

    version: str
    """Its policy version."""

    share: float
    """Part of the users, episodes or traces it answers."""

    shares: tuple[float, ...]
    """The shares it goes through before it is live, ascending."""

    hold: bool = False
    """Stay at the present share until somebody promotes or rolls back."""

    alpha: float
    """Chance that a canary as good as the live model is rolled back, at most, over its whole life."""

    units: int
    """Users, episodes or traces that must have been observed with either model before the share grows."""

    reward: str | None
    """Name of the reward both are compared by; null compares guardrails alone."""

    reward_low: float = 0.0
    """Reward that counts as 0; below it, too."""

    reward_high: float = 1.0
    """Reward that counts as 1; above it, too."""

    slow_s: float | None = None
    """Duration from which a call is slow; null where too few calls were on record to say."""

    started_time: str
    """UTC, ISO 8601."""

    share_time: str
    """When it got the present share; only what began since then is compared."""


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

    canary: Canary | None = None
    """The checkpoint that is being tried on a share of the calls."""

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


class ServerInfo(Settings):
    """A running gateway."""

    schema_version: int = SCHEMA_VERSION
    """Version of this file's layout."""

    pid: int
    """Its process."""

    url: str
    """Base of the OpenAI API, without `/v1`."""

    control_url: str
    """Base of the control endpoint, on loopback whatever the gateway listens on."""

    control_token: str
    """Bearer token of the control endpoint; new at every start."""

    engine: str
    """`vllm` or `embedded`."""

    base: str
    """Name agents use, without the `:live`."""

    started_time: str
    """UTC, ISO 8601."""


def server_path(data: Path) -> Path:
    """Return the path of the running gateway's description."""
    return data / "serve" / "server.json"


def read_server(data: Path) -> ServerInfo | None:
    """Return the gateway that runs on DATA, or None. After a kill the file may name one that is gone."""
    try:
        return ServerInfo.model_validate_json(server_path(data).read_bytes())
    except FileNotFoundError:
        return None


def audit_path(data: Path) -> Path:
    """Return the path of the audit trail."""
    return data / "serve" / "audit.jsonl"


def lock_path(data: Path) -> Path:
    """Return the lock held by the gateway while it runs, and by a change of the registry when none does."""
    return data / "serve" / "lock"
