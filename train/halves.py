"""Weights in two halves: bfloat16, which is served, and the rest of float32, which training goes on from.

A weight of float32 is 32 bits. The upper 16, rounded, are a bfloat16 number and stand in the safetensors files; what
rounding took away is a signed number of 16 bits and stands beside them, under the same names, in `*.remainder` (the
format is safetensors, the name is not: engines load whatever has that one). Both together are no larger than float32,
and say the very same.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from foundation.files import write_json
from foundation.narration import get_logger

log = get_logger("train")

SUFFIX = ".remainder"


def split(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a float32 tensor rounded to bfloat16, and what `join` needs to have it back.

    Halves are rounded away from 0, so that what is left fits 16 bits.

    >>> upper, rest = split(torch.tensor([1.0, 0.1]))
    >>> upper.tolist(), join(upper, rest).tolist() == torch.tensor([1.0, 0.1]).tolist()
    ([1.0, 0.10009765625], True)
    """
    bits = weight.contiguous().view(torch.int32).to(torch.int64)
    upper = (bits + (1 << 15)) >> 16
    return upper.to(torch.int16).view(torch.bfloat16), (bits - (upper << 16)).to(torch.int16)


def join(upper: Tensor, rest: Tensor) -> Tensor:
    """Return the float32 tensor that was split."""
    bits = (upper.contiguous().view(torch.int16).to(torch.int64) << 16) + rest.to(torch.int64)
    return bits.to(torch.int32).view(torch.float32)


def halve(directory: Path) -> None:
    """Halve the float32 weights of a model directory, file by file; its config says bfloat16 from then on."""
    for path in sorted(directory.glob("*.safetensors")):
        served, remainders = dict[str, Tensor](), dict[str, Tensor]()
        for name, weight in load_file(path).items():
            served[name] = weight
            if weight.dtype == torch.float32:
                served[name], remainders[name] = split(weight)
        save_file(served, path, metadata={"format": "pt"})
        save_file(remainders, path.with_suffix(SUFFIX))
    config = json.loads((directory / "config.json").read_bytes())
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for name in {"dtype", "torch_dtype"} & part.keys():
            part[name] = "bfloat16"
    write_json(directory / "config.json", config | {"dtype": "bfloat16"})


@torch.no_grad()
def restore(policy: PreTrainedModel, directory: Path) -> None:
    """Give a float32 model, opened from a directory in halves, the weights it had when it was published.

    Without the remainders, as where only what is served was copied, it stays as it is.
    """
    weights = policy.state_dict()
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        with safe_open(path, framework="pt") as rests, safe_open(path.with_suffix(".safetensors"), "pt") as uppers:
            names = set(rests.keys())
            if not names <= weights.keys():
                log.warning("goes on from weights in bfloat16: transformers calls them otherwise", path=str(path))
                return
            for name in names:
                weights[name].copy_(join(uppers.get_tensor(name), rests.get_tensor(name)))
