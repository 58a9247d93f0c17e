"""Checkpoints: whole or invisible, opened by transformers, with probes that tell them from their parent."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from foundation.errors import SettingsError, SpanloopError
from foundation.report import RunReport
from tests.logged import bandit, publish
from train.engine.checkpoint import ready, sweep_partial, write_checkpoint
from train.engine.policy import load_policy
from train.plan import make_plan, read_limits
from train.run import train
from train.schema import MANIFEST, Manifest, read_manifest, tokenizer_digests, weights_digest
from train.settings import TrainConfig


@pytest.fixture(scope="module")
def trained(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once, for all tests of what comes out."""
    data = publish(
        tmp_path_factory.mktemp("data"), bandit(model, num_tasks=32, attempts=4, rewarded=130, temperature=0.8)
    )
    config = TrainConfig(data=data, model=model, learning_rate=1e-3, epochs=2)
    vocabulary_size, max_length = read_limits(model)
    report = RunReport("train run", {})
    path = train(config, make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length), report)
    assert path is not None
    return path


def test_the_directory_is_named_for_its_weights(trained: Path) -> None:
    """And the manifest agrees."""
    manifest = read_manifest(trained)

    assert trained.name == manifest.checkpoint_id
    assert manifest.weights_digest == weights_digest(trained)
    assert trained.name.endswith(manifest.weights_digest[:8])


def test_tokenizer_and_template_are_the_parents_byte_for_byte(trained: Path, model: Path) -> None:
    """Recorded token ids stay this model's."""
    assert tokenizer_digests(trained) == tokenizer_digests(model)
    assert AutoTokenizer.from_pretrained(trained).encode("héllo") == AutoTokenizer.from_pretrained(model).encode(
        "héllo"
    )


def test_the_manifest_names_what_was_read(trained: Path) -> None:
    """Files with digests, counts, settings, parent."""
    manifest = read_manifest(trained)

    assert list(manifest.window["files"]) == ["dataset/transitions/part-0.parquet"]
    assert manifest.window["received_seq"] == [0, 1]
    assert manifest.window["counts"]["num_trained_calls"] == 128
    assert manifest.settings["learning_rate"] == 1e-3
    assert manifest.parent is not None
    assert manifest.gate is None


def test_probes_are_what_transformers_computes_from_the_saved_weights(trained: Path, model: Path) -> None:
    """At temperature 1 whatever the calls were sampled at; the parent answers them differently."""

    def recompute(directory: Path) -> np.ndarray:
        policy = AutoModelForCausalLM.from_pretrained(directory)
        found = []
        for probe in read_manifest(trained).probes:
            ids = torch.tensor([probe.prompt_token_ids + probe.response_token_ids])
            with torch.no_grad():
                distribution = policy(input_ids=ids).logits[0].log_softmax(-1)
            begin = len(probe.prompt_token_ids)
            found += [distribution[begin + k - 1, token].item() for k, token in enumerate(probe.response_token_ids)]
        return np.array(found)

    recorded = np.concatenate([probe.logprobs for probe in read_manifest(trained).probes])
    assert len(read_manifest(trained).probes) >= 3
    assert recorded == pytest.approx(recompute(trained), abs=1e-4)
    assert np.abs(recorded - recompute(model)).max() > 0.01


def test_a_run_that_dies_while_writing_leaves_no_checkpoint(model: Path, tmp_path: Path) -> None:
    """The manifest is the last file, the name comes after it; until then there is nothing to be seen."""

    def die(written: Path, checkpoint_id: str, digest: str) -> Manifest:
        seen = list(tmp_path.iterdir())
        assert [path.name for path in seen if not path.name.startswith(".partial-")] == []
        assert all((path / "model.safetensors").exists() for path in seen)
        assert not any((path / MANIFEST).exists() for path in seen)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(
            load_policy(model).save_pretrained,
            model,
            tmp_path,
            metrics=b"",
            now=datetime(2026, 1, 1, tzinfo=UTC),
            describe=die,
        )

    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_a_manifest_is_no_checkpoint(model: Path) -> None:
    """However complete it looks."""
    with pytest.raises(SpanloopError, match="not a checkpoint"):
        read_manifest(model)


def test_a_file_in_the_place_of_a_directory_is_a_wrong_setting(tmp_path: Path) -> None:
    """And is left as it was."""
    (tmp_path / "out").write_text("mine")

    for place in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(SettingsError, match=str(tmp_path / "out")):
            ready(place)

    assert (tmp_path / "out").read_text() == "mine"


def test_a_full_disk_publishes_nothing_and_says_so(model: Path, tmp_path: Path) -> None:
    """Neither a checkpoint nor a part of one is left."""

    def save(directory: Path) -> None:
        (directory / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(SpanloopError, match="No space left"):
        write_checkpoint(
            save, model, tmp_path / "out", metrics=b"", now=datetime.now(UTC), describe=lambda *_a: pytest.fail("late")
        )

    assert list((tmp_path / "out").iterdir()) == []


def test_only_what_a_killed_training_left_is_swept(tmp_path: Path) -> None:
    """By its youngest file: a large model takes a while to write."""
    (tmp_path / ".partial-a").mkdir()
    (tmp_path / ".partial-a" / "model.safetensors").write_bytes(b"half")
    now_s = (tmp_path / ".partial-a" / "model.safetensors").stat().st_mtime

    sweep_partial(tmp_path, now_s=now_s + 60)
    assert (tmp_path / ".partial-a").exists()

    sweep_partial(tmp_path, now_s=now_s + 7200)
    assert not (tmp_path / ".partial-a").exists()
