"""The texts a model is told by: its own, else those recorded when it was first served."""

import asyncio
from pathlib import Path

import pytest

from foundation.errors import SpanloopError
from serve.change.probes import find_probes, probes_path, record_probes
from tests.fakes import VOCABULARY_SIZE, tiny_model
from tests.serving import tiny_checkpoint
from train.schema import Probe, model_version, read_manifest

PROBE = Probe(prompt_token_ids=[1], response_token_ids=[2], logprobs=[-1.0])


class Speaking:
    """Says one thing, and remembers how large a vocabulary it was told of."""

    def __init__(self) -> None:
        self.vocabulary_size = 0

    async def make_probe(self, vocabulary_size: int) -> Probe:
        self.vocabulary_size = vocabulary_size
        return PROBE


def test_a_checkpoint_has_its_own_and_a_model_those_it_was_first_served_with(tmp_path: Path) -> None:
    """By its version, so that a rollback to it is proved."""
    checkpoint, model = tiny_checkpoint(tmp_path / "c", seed=1), tiny_model(tmp_path / "m")
    assert find_probes(tmp_path, checkpoint) == read_manifest(checkpoint).probes
    assert find_probes(tmp_path, model) == []

    engine = Speaking()
    asyncio.run(record_probes(tmp_path, model, engine))  # type: ignore[arg-type]

    assert engine.vocabulary_size == VOCABULARY_SIZE
    assert find_probes(tmp_path, model) == [PROBE]
    assert find_probes(tmp_path, tiny_model(tmp_path / "other", seed=2)) == []


def test_a_damaged_record_says_how_to_get_another(tmp_path: Path) -> None:
    """Not none at all: then nothing would be proved."""
    model = tiny_model(tmp_path / "m")
    path = probes_path(tmp_path, model_version(model))
    path.parent.mkdir(parents=True)
    path.write_text("{")

    with pytest.raises(SpanloopError) as damaged:
        find_probes(tmp_path, model)
    assert "recorded anew" in (damaged.value.hint or "")
