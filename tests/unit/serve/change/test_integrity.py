import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from foundation.errors import ExitStatus
from serve.change.integrity import CheckpointRefused, check_compatible, check_gate, check_integrity, read_tensors
from tests.fakes import tiny_model
from tests.serving import tiny_checkpoint
from train.schema import read_manifest


def test_a_whole_checkpoint_passes(tmp_path: Path) -> None:
    """The manifest comes back; a model without one passes only where that is allowed."""
    checkpoint, model = tiny_checkpoint(tmp_path / "c", seed=1), tiny_model(tmp_path / "m")

    assert check_integrity(checkpoint) == read_manifest(checkpoint)
    assert check_integrity(model, require_manifest=False) is None
    with pytest.raises(Exception, match="manifest"):
        check_integrity(model)


def flip_a_byte(path: Path) -> None:
    content = bytearray((path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "model.safetensors").write_bytes(content)


def cut_short(path: Path) -> None:
    content = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(content[: len(content) // 2])


def add_pickle(path: Path) -> None:
    (path / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def add_code(path: Path) -> None:
    config = json.loads((path / "config.json").read_bytes())
    (path / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))


def add_module(path: Path) -> None:
    (path / "modeling.py").write_text("")


def link_away(path: Path) -> None:
    (path / "extra.json").symlink_to("/etc/hostname")


def lose_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


@pytest.mark.parametrize("damage", [flip_a_byte, cut_short, add_pickle, add_code, add_module, link_away, lose_weights])
def test_a_damaged_or_unsafe_checkpoint_is_refused(tmp_path: Path, damage: Any) -> None:
    """Before any engine hears of it, with the exit status of a gate."""
    checkpoint = tiny_checkpoint(tmp_path / "c", seed=1)
    damage(checkpoint)

    with pytest.raises(CheckpointRefused) as refused:
        check_integrity(checkpoint)

    assert refused.value.exit_status is ExitStatus.REFUSED
    assert str(checkpoint) in str(refused.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_shapes_are_read_of_whatever_numbers_there_are(tmp_path: Path, dtype: torch.dtype) -> None:
    """Also of those that NumPy does not have."""
    save_file({"a": torch.zeros(2, 3).to(dtype)}, tmp_path / "model.safetensors")

    assert read_tensors(tmp_path) == {"a": (2, 3)}


def test_only_the_same_shape_and_tokenizer_can_be_swapped_in(tmp_path: Path) -> None:
    """Another seed fits; another width, another template or another tensor does not."""
    serving, other = tiny_model(tmp_path / "a", seed=1), tiny_model(tmp_path / "b", seed=2)
    check_compatible(other, serving)

    wide = tiny_model(tmp_path / "wide", hidden_size=64)
    with pytest.raises(CheckpointRefused, match="hidden_size"):
        check_compatible(wide, serving)

    (other / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(CheckpointRefused, match="template"):
        check_compatible(other, serving)

    third = tiny_model(tmp_path / "c", seed=3)
    tensors = load_file(third / "model.safetensors")
    tensors.pop("model.norm.weight")
    save_file(tensors, third / "model.safetensors")
    with pytest.raises(CheckpointRefused, match="other tensors"):
        check_compatible(third, serving)


def test_what_the_evaluation_refused_is_refused(tmp_path: Path) -> None:
    """And so is a report about other weights; one that was never evaluated passes."""
    for name, gate, accepted in (
        ("never", None, True),
        ("passed", {"verdict": "passed", "passed": True}, True),
        ("refused", {"verdict": "refused", "passed": False, "reason": "worse"}, False),
        ("other", {"verdict": "passed", "passed": True, "weights_digest": "0"}, False),
    ):
        checkpoint = tiny_checkpoint(tmp_path / name, seed=1, gate=gate)
        if accepted:
            check_gate(checkpoint, read_manifest(checkpoint))
        else:
            with pytest.raises(CheckpointRefused):
                check_gate(checkpoint, read_manifest(checkpoint))
