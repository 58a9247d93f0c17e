"""Digests of weights: computed once, and never those of other files."""

import os
from pathlib import Path

import pytest

from train import schema
from train.schema import known_digest, model_version, weights_digest


def test_a_digest_is_computed_once_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same length, with the same time of change: rewritten is changed."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"one")
    computed: list[Path] = []
    monkeypatch.setattr(schema, "weights_digest", lambda model: computed.append(model) or weights_digest(model))

    first = [known_digest(tmp_path), known_digest(tmp_path), model_version(tmp_path)]
    assert first == [weights_digest(tmp_path), first[0], f"{tmp_path.name}-{first[0][:8]}"]
    assert len(computed) == 1

    stat = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert known_digest(tmp_path) == weights_digest(tmp_path) != first[0]
    assert len(computed) == 2
