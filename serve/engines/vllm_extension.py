"""What the gateway adds to vLLM's workers: a change of weights that either works or leaves everything as it was.

vLLM's own `reload_weights` has two faults this works around (0.32.0). A path it cannot read ends the engine, so the
files are read first. And on CPU each linear layer multiplies by a packed copy of its weight; reloading packs anew only
the layers that received a tensor, and a head tied to the embedding receives none: it keeps answering with the old
weights, with status 200. Related upstream reports: vllm #48312, #32718.
"""

from pathlib import Path
from typing import Any


class SwapExtension:
    """Methods mixed into every vLLM worker (`--worker-extension-cls`)."""

    model_runner: Any
    vllm_config: Any

    def swap_weights(self, path: str) -> dict[str, Any]:
        """Load the weights of a checkpoint in place of the present ones; called between requests."""
        import torch

        try:
            _check_readable(Path(path))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the engine must go on
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}
        with torch.inference_mode():
            self.reload_weights(weights_path=path)  # type: ignore[attr-defined]
            model = self.model_runner.get_model()
            _repack_tied(model)
        return {"ok": True, "dtype": str(self.vllm_config.model_config.dtype).removeprefix("torch.")}


def _check_readable(path: Path) -> None:
    from safetensors import safe_open

    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no safetensors files in {path}")
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dictionary
                tensors.get_tensor(name)


def _repack_tied(model: Any) -> None:  # noqa: ANN401
    """Pack the head and the embedding again from the weights they now have. Doing it twice harms nothing."""
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
            dispatch_cpu_unquantized_gemm(module, remove_weight=False)
