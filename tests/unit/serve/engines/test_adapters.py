"""Adapters and the base they need: found where it was or beside them, and only with the weights they were made over."""

import json
from pathlib import Path

import pytest

from serve.engines.adapters import (
    BaseMissing,
    adapter_base,
    adapter_rank,
    check_base,
    is_adapter,
    read_adapter_config,
    whole_model,
)
from tests.serving import tiny_checkpoint
from train.schema import Base, Manifest, read_manifest, weights_digest


def adapter(path: Path, base: Path) -> Path:
    path.mkdir()
    (path / "adapter_config.json").write_text(json.dumps({"r": 8, "base_model_name_or_path": str(base)}))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("models") / "base", seed=1)


def test_a_whole_model_is_its_own_base(model: Path) -> None:
    """And has no rank."""
    assert (is_adapter(model), adapter_rank(model), adapter_base(model), whole_model(model)) == (False, 0, None, model)


def test_the_base_is_where_it_was_or_beside_the_adapter(tmp_path: Path, model: Path) -> None:
    """A directory of checkpoints may be moved as a whole."""
    (tmp_path / "base").symlink_to(model)

    assert whole_model(adapter(tmp_path / "here", model)) == model.resolve()
    assert whole_model(adapter(tmp_path / "moved", Path("/gone/base"))) == model.resolve()
    with pytest.raises(BaseMissing, match="not at"):
        adapter_base(adapter(tmp_path / "lost", Path("/gone/other")))


def test_an_adapter_over_other_weights_is_another_policy(tmp_path: Path, model: Path) -> None:
    """Told by the digest of the base, not by its name."""
    own = adapter(tmp_path / "own", model)
    manifest = read_manifest(model)

    def over(digest: str) -> Manifest:
        return manifest.model_copy(update={"base": Base(path=str(model), version="base", weights_digest=digest)})

    check_base(own, over(weights_digest(model)))
    with pytest.raises(BaseMissing, match="is not the base"):
        check_base(own, over("0" * 64))
    with pytest.raises(BaseMissing, match="does not name"):
        check_base(own, manifest)


def test_a_damaged_description_is_said(tmp_path: Path) -> None:
    """Not a traceback."""
    (tmp_path / "adapter_config.json").write_text("{")

    with pytest.raises(BaseMissing, match="cannot be read"):
        read_adapter_config(tmp_path)
