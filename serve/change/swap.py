"""A change of weights that is checked before, proved after and undone when the proof fails.

Before: the checkpoint is whole, unaltered, safe to open and of the shape the engine runs, because a failed reload can
end an engine. After: the engine's log-probabilities of fixed texts are compared with the trainer's own, because a
reload can succeed and still answer with old weights.
"""

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from foundation.errors import GateRefused, SpanloopError
from foundation.files import write_atomically
from foundation.models import is_in_snapshot_of
from foundation.settings import Settings
from serve.engines.adapters import adapter_base, check_base, is_adapter
from serve.engines.engine import Engine, EngineFailed, LoadRefused
from serve.evidence.decoding import read_decoder
from serve.evidence.spans import Policy
from serve.schema import encode_file, read_file
from train.schema import MANIFEST, Manifest, Probe, model_version, read_manifest, tokenizer_digests, weights_digest

UNSAFE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py", ".so"}
"""Files that run code when opened, or are code."""

INCIDENTAL = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"}
"""Keys of config.json that do not change what the model computes."""


class CheckpointRefused(GateRefused):
    """A checkpoint that must not be served, or not in place of the model that is."""


class ProbeFailed(GateRefused):
    """After the change the engine did not answer as this checkpoint should; the one before is back."""


# --- before


def check_integrity(checkpoint: Path, *, require_manifest: bool = True) -> Manifest | None:
    """Check that a model directory is whole, unaltered and safe to open; return its manifest.

    A model that never was a checkpoint of ours has none, and passes only where that is allowed.
    """
    if not (checkpoint / "config.json").is_file() and not is_adapter(checkpoint):
        raise CheckpointRefused(
            f"{checkpoint} is not a model directory: "
            + ("it has no config.json" if checkpoint.is_dir() else "it is none"),
            hint="Name the directory of a model: `hf download ID` prints it, `spanloop train run` makes one.",
        )
    root = checkpoint.resolve()
    for path in sorted(checkpoint.rglob("*")):
        if not path.resolve().is_relative_to(root) and not is_in_snapshot_of(path, root):
            raise CheckpointRefused(f"{path} is a link that leads out of the checkpoint")
        if path.suffix in UNSAFE_SUFFIXES:
            raise CheckpointRefused(
                f"{path} could run code when opened",
                hint="Only safetensors are served. Remove it: where safetensors are there too, nothing reads it.",
            )
    if not is_adapter(checkpoint) and "auto_map" in _read_config(checkpoint):
        raise CheckpointRefused(f"{checkpoint / 'config.json'} asks for code of the model's own (auto_map)")
    read_tensors(checkpoint)
    if not require_manifest and not (checkpoint / MANIFEST).exists():
        return None
    manifest = read_manifest(checkpoint)
    digest = weights_digest(checkpoint)
    if digest != manifest.weights_digest:
        raise CheckpointRefused(
            f"the weights in {checkpoint} are not those of its manifest: sha256 {digest[:12]}…, "
            f"manifest says {manifest.weights_digest[:12]}…"
        )
    if is_adapter(checkpoint):
        check_base(checkpoint, manifest)
    return manifest


def check_compatible(checkpoint: Path, serving: Path) -> None:
    """Check that a checkpoint can take the place of the model an engine runs: same shape, tokenizer and template."""
    hint = "Stop the gateway, promote, and start it again: an engine changes weights in place, nothing else."
    ours, theirs = _read_config(checkpoint), _read_config(serving)
    different = [key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]
    if different:
        raise CheckpointRefused(
            f"{checkpoint / 'config.json'} differs from the model that is served in {', '.join(different)}", hint=hint
        )
    if read_tensors(checkpoint) != read_tensors(serving):
        raise CheckpointRefused(f"{checkpoint} has other tensors than the model that is served", hint=hint)
    if tokenizer_digests(checkpoint) != tokenizer_digests(serving):
        raise CheckpointRefused(f"{checkpoint} has another tokenizer or chat template than the model served", hint=hint)


def check_gate(checkpoint: Path, manifest: Manifest, *, is_canary: bool = False) -> None:
    """Check that the evaluation accepted a checkpoint; one that was never evaluated passes.

    For a canary it is enough that nothing speaks against it: a share of the calls is how to find out.
    """
    gate = manifest.gate
    if gate is None:
        return
    if gate.get("weights_digest") != manifest.weights_digest:
        raise CheckpointRefused(f"the gate report in {checkpoint} is about other weights")
    is_open = gate.get("verdict") == "inconclusive"
    if gate.get("passed") is not True and not (is_canary and is_open):
        raise CheckpointRefused(
            f"the evaluation did not accept {checkpoint.name}: {gate.get('reason') or 'no reason given'}",
            hint="Try it on a share of the calls with `spanloop serve canary`, or serve it all the same with --force."
            if is_open
            else "Serve it all the same with --force.",
        )


def read_tensors(model: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a directory's safetensors files, from their headers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(model.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as tensors:
                shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointRefused(f"{path} is not a whole safetensors file: {error}") from error
    if not shapes:
        raise CheckpointRefused(f"{model} has no safetensors files")
    return shapes


def _read_config(model: Path) -> dict[str, Any]:
    path = model / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointRefused(f"{path} cannot be read: {error}") from error
    return {key: value for key, value in config.items() if key not in INCIDENTAL}


def describe_policy(model: Path) -> Policy:
    """Return what spans record of the model in a directory."""
    base = adapter_base(model)
    whole = base or model
    tokenizer, template = tokenizer_digests(whole)
    return Policy(
        model_version(model),
        tokenizer,
        template,
        base=None if base is None else model_version(base),
        decoder=read_decoder(whole, tokenizer),
    )


# --- after


@dataclass(frozen=True)
class Difference:
    """How far an engine's log-probabilities are from those expected, over all ids of all probes."""

    mean: float
    max: float
    num_tokens: int
    shift: float | None = None
    """Mean change the new weights were to make, seen from what the engine said before; null on a fresh start."""

    p99: float | None = None
    """Difference that one token in a hundred exceeds; with fewer tokens the largest. Null: as `max`."""

    doubt: float = 0.0
    """Mean of 1 - p over the tokens: near 0 where the model was sure of each, 1 where each was improbable."""


@dataclass(frozen=True)
class Limit:
    """Largest differences that are rounding and not other weights."""

    mean: float
    p99: float
    max: float
    mean_in_doubt: float
    """Mean allowed for tokens of probability 0, where that is more: see `Difference.doubt`."""


LIMITS: Mapping[str, Limit] = {"float32": Limit(mean=1e-3, p99=1e-2, max=1e-2, mean_in_doubt=1e-3)}
"""By precision of the engine."""

ROUNDED_LIMIT = Limit(mean=0.02, p99=0.3, max=1.0, mean_in_doubt=0.05)
"""Half precision. Measured on bfloat16: 0.0008 mean and 0.045 max for the right weights, 0.043 and 2.75 for a head
left behind by one small training step.

Rounding moves every logit by about as much; a log-probability moves by (1 - p) times that, less what the others move
on average: d log p_i = (1 - p_i) dz_i - sum over j != i of p_j dz_j. So a token the model is sure of hardly moves
(0.0007 on average above p = 0.9), and an improbable one moves in full (0.015 to 0.036 below p = 0.02, 0.33 at most of
2,000). Probes of improbable tokens are allowed that; those of likely tokens stay at the stricter mean."""


MAX_LEFT = 0.5
"""Largest part of the expected change that may be missing afterwards. Right weights leave rounding; a head left behind
leaves its own share of the change, and weights left behind leave all of it."""

SMALLEST_SHIFT: Mapping[str, float] = {"float32": 1e-4}
"""Mean change, by precision of the engine, below which what is missing of it cannot be told from rounding."""

SMALLEST_ROUNDED_SHIFT = 5e-3
"""The same for half precision: a few times the 0.0008 measured for the right weights in bfloat16."""


async def score_all(engine: Engine, probes: Sequence[Probe], model: str | None = None) -> list[float]:
    """Ask the engine for the log-probabilities of every id of every probe, of its own model or another it holds."""
    scores = await asyncio.gather(
        *(engine.score(probe.prompt_token_ids, probe.response_token_ids, model) for probe in probes)
    )
    return [each for of_probe in scores for each in of_probe]


def expected_scores(probes: Sequence[Probe]) -> list[float]:
    """Return what `score_all` would answer with the weights the probes were made with."""
    return [logprob for probe in probes for logprob in probe.logprobs]


def measure(scores: Sequence[float], expected: Sequence[float], before: Sequence[float] | None = None) -> Difference:
    """Return how far scores are from those expected, and how far those were from the scores before.

    >>> measure([-1.0, -2.0], [-1.0, -2.5], [-1.5, -2.0])
    Difference(mean=0.25, max=0.5, num_tokens=2, shift=0.5, p99=0.5, doubt=0.775...)
    """
    if not scores:
        return Difference(math.nan, math.nan, 0)
    distances = [abs(ours - theirs) for ours, theirs in zip(scores, expected, strict=True)]
    shift = None
    if before is not None:
        shift = sum(abs(new - old) for new, old in zip(expected, before, strict=True)) / len(scores)
    if any(math.isnan(distance) for distance in distances):
        return Difference(math.nan, math.nan, len(distances), shift)
    return Difference(
        sum(distances) / len(distances),
        max(distances),
        len(distances),
        shift,
        p99=sorted(distances)[math.ceil(0.99 * len(distances)) - 1],
        doubt=sum(1 - math.exp(min(0.0, each)) for each in expected) / len(distances),
    )


async def compare(engine: Engine, probes: Sequence[Probe], model: str | None = None) -> Difference:
    """Ask every part of the engine for the log-probabilities of the probes; return the worst of them."""
    expected = expected_scores(probes)
    return _worst([measure(await score_all(part, probes, model), expected) for part in engine.parts])


def check_difference(difference: Difference, dtype: str, model: Path) -> None:
    """Raise `ProbeFailed` when an engine that has just opened a model does not answer as its probes say."""
    if not is_within(difference, dtype):
        raise ProbeFailed(
            f"{model} does not answer as its manifest says: log-probabilities are off by {difference.mean:.4f} on "
            f"average and {difference.max:.4f} at most",
            hint="Its files, or the engine, are not those it was made with. See docs/serving.md.",
        )


def _worst(differences: Sequence[Difference]) -> Difference:
    """Return the largest difference; one that is not a number is larger than any."""
    return max(differences, key=lambda each: math.inf if math.isnan(each.mean) else each.mean)


def is_within(difference: Difference, dtype: str) -> bool:
    """Tell whether a difference is rounding; what is not a number never is.

    Two rules: it is small, and it is small beside the change the weights were to make. The second finds a part left
    behind by a small training step, which the first would pass.
    """
    limit = LIMITS.get(dtype, ROUNDED_LIMIT)
    mean = max(limit.mean, limit.mean_in_doubt * difference.doubt)
    p99 = difference.max if difference.p99 is None else difference.p99
    if not (difference.mean <= mean and p99 <= limit.p99 and difference.max <= limit.max):
        return False
    if difference.shift is None or difference.shift < SMALLEST_SHIFT.get(dtype, SMALLEST_ROUNDED_SHIFT):
        return True
    return difference.mean <= MAX_LEFT * difference.shift


async def swap(engine: Engine, checkpoint: Path, probes: Sequence[Probe], *, before: Sequence[float]) -> Difference:
    """Put a checkpoint in the place of the model being served and prove it.

    Called only while no request is in flight, inside `undone_on_error`. `before` is what `score_all` answers with the
    former weights: asked beforehand, so that no call waits for it.
    """
    expected = expected_scores(probes)
    dtype = await engine.load(checkpoint)
    difference = _worst([measure(await score_all(part, probes), expected, before) for part in engine.parts])
    if not is_within(difference, dtype):
        raise ProbeFailed(
            f"after loading {checkpoint} the engine's log-probabilities were off by {difference.mean:.6f} on average "
            f"and {difference.max:.6f} at most over {difference.num_tokens} tokens ({dtype}), where the new weights "
            f"were to change them by {difference.shift:.6f}",
            hint="The weights from before are being served again.",
        )
    engine.model = checkpoint
    return difference


@contextlib.asynccontextmanager
async def undone_on_error(engine: Engine) -> AsyncIterator[None]:
    """Run a change of an engine's weights up to the moment it is on record; whatever stops it, undo it.

    Ends with what stopped the block and the weights from before, or with `EngineFailed`: then nobody knows which
    weights the engine has, and it must be stopped.
    """
    former = engine.model
    try:
        yield
    except (LoadRefused, EngineFailed):
        raise  # it still has the weights from before, or nobody knows
    except BaseException as error:
        try:
            await engine.load(former)
        except SpanloopError as failure:
            raise EngineFailed(f"{error}; and {former} could not be put back: {failure.message}") from error
        engine.model = former
        raise


# --- probes of models that came without


class Probes(Settings):
    """What a freshly loaded model answered; recognises it when it is rolled back to."""

    probes: list[Probe]
    """As in a manifest, but with the engine's own log-probabilities."""


def probes_path(data: Path, version: str) -> Path:
    """Return where the probes of a model without a manifest are kept."""
    return data / "serve" / "probes" / f"{version}.json"


def find_probes(data: Path, model: Path) -> list[Probe]:
    """Return the probes a model came with, else those recorded when it was first served; there may be none."""
    if (model / MANIFEST).exists() and (probes := read_manifest(model).probes):
        return probes
    hint = "Remove it and restart the gateway on this model: they are recorded anew."
    kept = read_file(probes_path(data, model_version(model)), Probes, hint=hint)
    return [] if kept is None else kept.probes


async def record_probes(data: Path, model: Path, engine: Engine) -> None:
    """Keep what an engine that has just loaded a model from scratch says, for a model that came without probes."""
    vocabulary_size = int(_read_config(model).get("vocab_size", 256))
    recorded = Probes(probes=[await engine.make_probe(vocabulary_size)])
    write_atomically(probes_path(data, model_version(model)), encode_file(recorded))
