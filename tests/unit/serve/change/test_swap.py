import asyncio
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from foundation.errors import ExitStatus
from serve.change.swap import (
    ROUNDED_LIMIT,
    CheckpointRefused,
    Difference,
    ProbeFailed,
    check_compatible,
    check_gate,
    check_integrity,
    is_within,
    measure,
    swap,
    undone_on_error,
)
from serve.engines.engine import EngineFailed, LoadRefused
from tests.fakes import tiny_model
from tests.serving import altered_checkpoint, tiny_checkpoint, with_manifest
from train.schema import Probe, read_manifest


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


def test_what_is_not_a_number_is_never_close() -> None:
    """Weights with NaN in them answer NaN."""
    assert is_within(Difference(0.001, 0.05, 9), "bfloat16")
    assert not is_within(Difference(0.002, 0.05, 9), "float32")
    assert not is_within(Difference(math.nan, math.nan, 9), "bfloat16")


def test_a_part_left_behind_by_a_small_step_is_not_rounding() -> None:
    """Within the absolute limit, but most of what the new weights were to change is missing."""
    for dtype, shift in (("float32", 5e-4), ("bfloat16", 0.015)):
        assert is_within(Difference(shift / 4, shift, 9, shift=shift), dtype)
        assert not is_within(Difference(shift * 0.8, shift, 9, shift=shift), dtype)
    # Of a change smaller than rounding nothing can be said.
    assert is_within(Difference(0.001, 0.05, 9, shift=0.001), "bfloat16")


def test_improbable_tokens_round_worse_and_are_told_from_other_weights(tmp_path: Path) -> None:
    """The same weights in bfloat16, asked for random tokens, pass; other weights, a step away, do not.

    Before tolerances looked at probabilities such probes were refused: nearly every random token is improbable, and
    there rounding shows in full.
    """
    torch.manual_seed(0)
    prompt, response = torch.randint(0, 265, (24, 8)), torch.randint(0, 265, (24, 24))
    model = tiny_model(tmp_path / "m", hidden_size=128)
    near = altered_checkpoint(with_manifest(model), tmp_path / "near", seed=1, scale=0.05)

    def score(path: Path, dtype: torch.dtype) -> list[float]:
        net = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()
        with torch.inference_mode():
            logprobs = net(torch.cat([prompt, response], dim=1)).logits.float().log_softmax(-1)
        chosen = logprobs[:, 7:-1].gather(-1, response[:, :, None])
        return [float(value) for value in chosen.flatten()]

    expected = score(model, torch.float32)
    same, other = (measure(score(path, torch.bfloat16), expected) for path in (model, near))

    assert same.doubt > 0.9
    assert same.mean > ROUNDED_LIMIT.mean
    assert is_within(same, "bfloat16")
    assert not is_within(other, "bfloat16")


def test_likely_tokens_are_held_to_the_stricter_mean() -> None:
    """A head left behind by one training step is off by 0.043 on average on what the model itself sampled."""
    assert not is_within(Difference(0.043, 0.3, 99, doubt=0.4, p99=0.3), "bfloat16")
    assert is_within(Difference(0.03, 0.33, 2000, doubt=1.0, p99=0.18), "bfloat16")
    assert not is_within(Difference(0.03, 2.75, 2000, doubt=1.0, p99=0.18), "bfloat16")


class ForgetfulEngine:
    """Loads what it is told, and may go on answering with the weights from before: a number stands for them."""

    def __init__(self, *, is_stale: bool) -> None:
        self.parts = (self,)
        self.loaded: list[str] = []
        self.model = Path("old")
        self.is_stale = is_stale
        self.is_broken = False

    async def load(self, checkpoint: Path) -> str:
        if self.is_broken:
            raise LoadRefused("gone")
        self.loaded.append(checkpoint.name)
        return "float32"

    async def score(self, prompt: list[int], response: list[int], model: str | None = None) -> list[float]:  # noqa: ARG002 - the engine's signature
        return [-1.0 if self.is_stale or self.loaded[-1:] != ["new"] else -2.0 for _ in response]


PROBE = Probe(prompt_token_ids=[1], response_token_ids=[2, 3], logprobs=[-2.0, -2.0])


def test_a_swap_is_proved() -> None:
    """The engine that answers as the trainer did keeps the new weights."""
    engine = ForgetfulEngine(is_stale=False)

    difference = asyncio.run(swap(engine, Path("new"), [PROBE], before=[-1.0, -1.0]))  # type: ignore[arg-type]

    assert (difference.mean, difference.max, difference.num_tokens, difference.shift) == (0.0, 0.0, 2, 1.0)
    assert engine.loaded == ["new"]
    assert engine.model == Path("new")


def test_a_swap_that_left_old_weights_behind_is_undone() -> None:
    """A reload can answer 200 and change nothing: the log-probabilities tell."""
    engine = ForgetfulEngine(is_stale=True)

    async def change() -> None:
        async with undone_on_error(engine):  # type: ignore[arg-type]
            await swap(engine, Path("new"), [PROBE], before=[-1.0, -1.0])  # type: ignore[arg-type]

    with pytest.raises(ProbeFailed, match=r"1\.0000"):
        asyncio.run(change())

    assert engine.loaded == ["new", "old"]
    assert engine.model == Path("old")


def test_what_cannot_be_undone_leaves_an_engine_nobody_trusts() -> None:
    """The former weights are gone from disk: the engine must be stopped, and the error says so."""
    engine = ForgetfulEngine(is_stale=False)

    async def change() -> None:
        async with undone_on_error(engine):  # type: ignore[arg-type]
            await swap(engine, Path("new"), [PROBE], before=[-1.0, -1.0])  # type: ignore[arg-type]
            engine.is_broken = True
            raise OSError(28, "No space left on device")

    with pytest.raises(EngineFailed, match="No space left"):
        asyncio.run(change())
