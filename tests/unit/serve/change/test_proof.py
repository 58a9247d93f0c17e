import math
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from serve.change.proof import ROUNDED_LIMIT, Difference, is_within, measure
from tests.fakes import tiny_model
from tests.serving import altered_checkpoint, with_manifest


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
