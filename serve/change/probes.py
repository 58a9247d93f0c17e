"""The fixed texts a model is recognised by: those it came with, else those recorded when it was first served."""

from pathlib import Path

from foundation.files import write_atomically
from foundation.settings import Settings
from serve.change.integrity import read_config
from serve.engines.engine import Engine
from serve.schema import encode_file, read_file
from train.schema import MANIFEST, Probe, model_version, read_manifest


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
    vocabulary_size = int(read_config(model).get("vocab_size", 256))
    recorded = Probes(probes=[await engine.make_probe(vocabulary_size)])
    write_atomically(probes_path(data, model_version(model)), encode_file(recorded))
