"""What serving publishes: which checkpoint is live, and where the gateway answers. Imports nothing heavy.

    DATA/serve/registry.json      the live checkpoint and those before it; replaced by rename
    DATA/serve/audit.jsonl        one line a change: when, what, from, to, canary and its share, why
    DATA/serve/gates/             what the gate on behavior found, one file a checkpoint
    DATA/serve/handover.json      how far users were handed over from a hosted model to the student
    DATA/serve/server.json        where the gateway and its control endpoint answer, while one runs; mode 0600
    DATA/serve/spool/             spans that wait for a receiver that is away
    DATA/serve/exporter_keys.json keys the gateway made itself for its spans; mode 0600
    DATA/serve/probes/            what a model without probes of its own answered when it was freshly loaded
    DATA/serve/engine.log         output of the engine

The JSON files say their layout's version and their own sha256; one that is damaged or newer is refused.

Agents ask for the alias `<base>:live` (or any name the gateway lists); promotion changes no client.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from foundation.settings import Settings
from foundation.state import StateUnreadable, encode_state, read_state
from foundation.web.http import answers

SCHEMA_VERSION = 1


Model = TypeVar("Model", bound=Settings)


def encode_file(value: Settings) -> bytes:
    """Return the bytes of one of these files."""
    return encode_state(value.model_dump(mode="json"), version=SCHEMA_VERSION)


def read_file(path: Path, model: type[Model], *, hint: str) -> Model | None:
    """Return what one of these files holds, None where there is none; refuse one that is damaged or newer."""
    content = read_state(path, version=SCHEMA_VERSION, hint=hint)
    if content is None:
        return None
    try:
        return model.model_validate(content)
    except ValidationError as error:
        wrong = ", ".join(sorted({".".join(map(str, detail["loc"])) for detail in error.errors()}))
        raise StateUnreadable(f"{path} is damaged: {wrong}", hint=hint) from error


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

    margin: float | None = None
    """How much less reward than the live model it may earn and still be made live for all calls, at the level `alpha`;
    null makes it live when it is not seen to be worse."""

    slow_s: float | None = None
    """Duration from which a call is slow; null where too few calls were on record to say."""

    started_time: str
    """UTC, ISO 8601."""

    share_time: str
    """When it got the present share; only what began since then is compared."""


class Registry(Settings):
    """Which checkpoint is live and which was before."""

    base: str
    """Name agents use, without the `:live`."""

    live: str
    """Directory of the live checkpoint; in the file from DATA on, where it lies below."""

    live_version: str
    """Its checkpoint id: the policy version recorded on every span."""

    previous: tuple[str, ...] = ()
    """Directories that were live before, newest last."""

    canary: Canary | None = None
    """The checkpoint that is being tried on a share of the calls."""

    changed_time: str
    """UTC, ISO 8601."""


class Handover(Settings):
    """How far users were handed over from the hosted model to the student."""

    share: float
    """Part of the users, episodes or traces the student answers."""

    trial: Canary | None = None
    """How the student is compared with the hosted model; null once it is over."""

    reason: str | None = None
    """Why it stands where it does."""

    changed_time: str
    """UTC, ISO 8601."""


def handover_path(data: Path) -> Path:
    """Return the file that says so."""
    return data / "serve" / "handover.json"


def read_handover(data: Path) -> Handover | None:
    """Return how far users were handed over; None where nobody began to."""
    return read_file(handover_path(data), Handover, hint="Remove it: then --fallback-share says who stays.")


def registry_path(data: Path) -> Path:
    """Return the path of the registry."""
    return data / "serve" / "registry.json"


def read_registry(data: Path) -> Registry | None:
    """Return the registry of DATA, or None before anything was served."""
    hint = "Write it anew from the last line of audit.jsonl beside it, or restore a backup."
    found = read_file(registry_path(data), Registry, hint=hint)
    return None if found is None else _with_places(found, partial(_found, data.resolve()))


def encode_registry(data: Path, registry: Registry) -> bytes:
    """Return the bytes of the registry of DATA: what lies below DATA is named from there, so that DATA may move."""
    return encode_file(_with_places(registry, partial(_below, data.resolve())))


def _with_places(registry: Registry, place: Callable[[str], str]) -> Registry:
    """Return the registry with another name for each directory in it."""
    canary = registry.canary
    moved = canary if canary is None else canary.model_copy(update={"checkpoint": place(canary.checkpoint)})
    names = {"live": place(registry.live), "previous": tuple(map(place, registry.previous)), "canary": moved}
    return registry.model_copy(update=names)


def _below(data: Path, directory: str) -> str:
    path = Path(directory)
    return path.relative_to(data).as_posix() if path.is_relative_to(data) else directory


def _found(data: Path, directory: str) -> str:
    """Return where a directory is: below DATA, also where DATA was elsewhere when it was named."""
    path = data / directory
    moved = data / "checkpoints" / path.name
    return str(moved if not path.is_dir() and moved.is_dir() else path)


class ServerInfo(Settings):
    """A running gateway."""

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

    def is_alive(self, *, timeout_s: float = 2.0) -> bool:
        """Tell whether it answers, on loopback: whatever keys and certificates callers need, and where it listens."""
        return answers(f"{self.control_url}/ping", token=self.control_token, timeout_s=timeout_s)


def server_path(data: Path) -> Path:
    """Return the path of the running gateway's description."""
    return data / "serve" / "server.json"


def read_server(data: Path) -> ServerInfo | None:
    """Return the gateway that runs on DATA, or None. After a kill the file may name one that is gone."""
    return read_file(server_path(data), ServerInfo, hint="Remove it; a gateway writes it anew when it starts.")


def audit_path(data: Path) -> Path:
    """Return the path of the audit trail."""
    return data / "serve" / "audit.jsonl"


def course_path(data: Path, version: str) -> Path:
    """Return the file that says how the canary of a version went: a line a look, `serve.canary.course` says of what."""
    return data / "serve" / "canaries" / f"{version}.jsonl"


def lock_path(data: Path) -> Path:
    """Return the lock held by the gateway while it runs, and by a change of the registry when none does."""
    return data / "serve" / "lock"
