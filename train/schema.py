"""What training publishes: a Hugging Face model directory with `manifest.json`, written last. Imports without torch.

    OUT/<checkpoint id>/config.json, model.safetensors, tokenizer.json, chat_template.jinja, …   vLLM opens it as it is
    OUT/<checkpoint id>/model.remainder              where weights are served in bfloat16: the rest of float32
    OUT/<checkpoint id>/metrics.jsonl                                                            one line an update
    OUT/<checkpoint id>/credit.parquet                                                           a row a call: `CREDIT`
    OUT/<checkpoint id>/card.md                                                                  of a distilled student
    OUT/<checkpoint id>/manifest.json                                                            present = whole

An adapter's directory holds adapter_config.json and adapter_model.safetensors, as PEFT writes them, in place of
config.json and model.safetensors; its manifest names the base it needs.

A directory without a manifest is not a checkpoint.
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from foundation.errors import SpanloopError
from foundation.settings import Settings

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
CHECKPOINTS = "checkpoints"
"""Where checkpoints are, below DATA and in a store."""

COPIED = "stored/dataset"
"""Below DATA: the transitions of a store, brought here to be trained on."""

ADAPTER_CONFIG = "adapter_config.json"
CREDIT_FILE = "credit.parquet"
PRUNED = "pruned.json"
"""What the manifest is called once the weights were removed: the directory is no checkpoint any more."""

CREDIT: dict[str, str] = {
    "project": "String",
    "checkpoint_id": "String",
    "episode_id": "String",
    "span_id": "String",
    "agent": "String",
    "turn": "Int32",
    "outcome": "Float64",
    "intermediate": "Float64",
    "return_": "Float64",
    "value": "Float64",
    "advantage": "Float64",
    "known": "String",
    "loss": "String",
    "weight": "Float64",
    "taken": "Float64",
    "num_tokens": "Int32",
}
"""Columns of the calls a checkpoint was trained on, and why each was pushed up or down: in SQL the view `credit`, which
shows DATA/checkpoints/*/credit.parquet. `turn` counts the agent's calls in the episode; `return_` is what the advantage
is of, `value` what could be expected before the call (null under a baseline of groups); `loss` with its `weight` is the
route (0: left out), and `taken` the advantage as that loss takes it, after `negative` and pairing."""


class Probe(Settings):
    """A fixed prompt with the trainer's own log-probabilities, to check an engine after a change of weights."""

    prompt_token_ids: list[int]
    """Ids of the prompt."""

    response_token_ids: list[int]
    """Ids of a continuation the parent policy had sampled."""

    logprobs: list[float]
    """Natural log-probability of each continuation id under this checkpoint, temperature 1, float32."""


class Base(Settings):
    """The whole model an adapter was trained over, and is nothing without."""

    path: str
    """Its directory when the adapter was trained."""

    version: str
    """Its policy version, as `model_version` gives it."""

    weights_digest: str
    """sha256 over its safetensors files."""


class Manifest(Settings):
    """What a checkpoint is, where it came from and what was measured on it."""

    schema_version: int = SCHEMA_VERSION
    """Version of this file's layout."""

    checkpoint_id: str
    """Name of the directory: `<UTC time>-<first 8 digits of weights_digest>`."""

    kind: Literal["full", "adapter"] = "full"
    """A whole model, or a LoRA adapter over `base`."""

    base: Base | None = None
    """What an adapter needs; null for a whole model."""

    agents: tuple[str, ...] = ()
    """Name patterns of the agents whose calls were trained; empty: all."""

    parent: str | None
    """Checkpoint id or path of the model training started from."""

    weights_digest: str
    """sha256 over the safetensors files, in name order."""

    tokenizer_digest: str
    """First 16 hex digits of the sha256 of tokenizer.json."""

    chat_template_digest: str | None
    """The same of the chat template; null when the model has none."""

    created_time: str
    """UTC, ISO 8601."""

    code_version: str
    """Version of spanloop."""

    window: dict[str, Any]
    """Dataset files that were read, with their digests, and the range of received_seq they cover."""

    settings: dict[str, Any]
    """Every resolved setting of the run."""

    metrics: dict[str, float | None]
    """Last value of each training metric."""

    probes: list[Probe]
    """Prompts to ask an engine after it loaded these weights."""

    gate: dict[str, Any] | None = None
    """Report of the evaluation, once there is one; bound to `weights_digest`."""


def read_manifest(checkpoint: Path) -> Manifest:
    """Read the manifest of a checkpoint directory, or say why it is none."""
    path = checkpoint / MANIFEST
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and content.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
            raise SpanloopError(
                f"{path} has layout {content['schema_version']}; this release reads {SCHEMA_VERSION}",
                hint="Use the release that wrote it.",
            )
        return Manifest.model_validate(content)
    except FileNotFoundError:
        raise SpanloopError(
            f"{checkpoint} is not a checkpoint: it has no {MANIFEST}",
            hint="The manifest is written last; a directory without one was never finished.",
        ) from None
    except ValueError as error:
        raise SpanloopError(f"{path} is damaged: {error}") from error


def model_version(model: Path) -> str:
    """Return the policy version of a model directory, as the gateway records it on every span.

    A checkpoint of ours is called by its id, any other model by its directory's name and the digest of its weights.
    """
    if (model / MANIFEST).exists():
        return read_manifest(model).checkpoint_id
    return f"{model.resolve().name}-{known_digest(model)[:8]}"


def base_of(model: Path) -> Path | None:
    """Return the directory of the base an adapter directory needs; None when the directory holds a whole model.

    A base that is no longer where it was when the adapter was trained is looked for beside the adapter.
    """
    path = model / ADAPTER_CONFIG
    if not path.exists():
        return None
    try:
        named = Path(json.loads(path.read_bytes())["base_model_name_or_path"])
    except (ValueError, KeyError, TypeError) as error:
        raise SpanloopError(f"{path} is damaged: {error}") from error
    for candidate in (named, model.resolve().parent / named.name):
        if (candidate / "config.json").exists():
            return candidate
    raise SpanloopError(
        f"the base of the adapter {model.name} is not at {named}",
        hint="An adapter holds differences only. Put its base back, or beside the adapter under the same name.",
    )


def weights_digest(checkpoint: Path) -> str:
    """Return the sha256 over the safetensors files of a directory, in name order, each preceded by its name."""
    digest = hashlib.sha256()
    for path in sorted(checkpoint.glob("*.safetensors")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def known_digest(model: Path) -> str:
    """Return `weights_digest`, computed once a process as long as no file of it was touched: a run asks many times.

    Where the question is whether files are whole, ask `weights_digest`.
    """
    files = sorted(model.resolve().glob("*.safetensors"))
    stats = [(path, path.stat()) for path in files]
    return _digest_of(
        model.resolve(),
        tuple((path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in stats),
    )


@lru_cache(maxsize=64)
def _digest_of(model: Path, _files: tuple[tuple[str, int, int, int, int], ...]) -> str:
    return weights_digest(model)


def tokenizer_digests(model: Path) -> tuple[str | None, str | None]:
    """Return the short digests of a model directory's tokenizer and chat template; null for one it does not have."""
    tokenizer, template = model / "tokenizer.json", model / "chat_template.jinja"
    config = model / "tokenizer_config.json"
    template_bytes = template.read_bytes() if template.exists() else None
    if template_bytes is None and config.exists():
        inline = json.loads(config.read_bytes()).get("chat_template")
        template_bytes = inline.encode() if isinstance(inline, str) else None
    return (
        hashlib.sha256(tokenizer.read_bytes()).hexdigest()[:16] if tokenizer.exists() else None,
        hashlib.sha256(template_bytes).hexdigest()[:16] if template_bytes is not None else None,
    )
