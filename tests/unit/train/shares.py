"""A fake of a process group, for what each of several processes would compute."""

import contextlib
from dataclasses import dataclass

import torch


@dataclass
class OneOf:
    """Stands for one of several processes, which hand in what they have; a real group is in the integration tests."""

    process_index: int
    num_processes: int
    device = torch.device("cpu")

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", enabled=False)

    def reduce(self, tensor: torch.Tensor, _how: str) -> torch.Tensor:
        return tensor

    def unwrap_model(self, module: torch.nn.Module) -> torch.nn.Module:
        return module

    def no_sync(self, _module: torch.nn.Module) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def pad_across_processes(self, tensor: torch.Tensor, **_how: float) -> torch.Tensor:
        return tensor

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor
