"""Low-rank adapters (LoRA, arXiv:2106.09685): attached to a frozen model, opened over their base, merged into it.

An adapter directory is what PEFT writes (`adapter_config.json`, `adapter_model.safetensors`) with our manifest beside
it, which names the base by path, version and digest: an adapter over other weights is another policy.
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from foundation.errors import SettingsError, SpanloopError
from train.schema import MANIFEST, Base, base_of, known_digest, model_version, read_manifest
from train.settings import TrainConfig


def describe_base(model: Path) -> Base:
    """Return what the manifest of an adapter says of the model it was trained over."""
    return Base(path=str(model.resolve()), version=model_version(model), weights_digest=known_digest(model))


def open_adapter(policy: PreTrainedModel, adapter: Path) -> None:
    """Load a directory's adapter into its opened base, trainable; refuse it over weights it was not trained over."""
    if (adapter / MANIFEST).exists():
        recorded = read_manifest(adapter).base
        base = Path(policy.name_or_path)
        if recorded is not None and known_digest(base) != recorded.weights_digest:
            raise SpanloopError(
                f"{base} is not the base of {adapter.name}: its weights are not those of {recorded.version}",
                hint="An adapter over other weights is another policy. Put the base back that its manifest names.",
            )
    policy.load_adapter(str(adapter), is_trainable=True)
    _in_full_precision(policy)


def has_adapter(policy: PreTrainedModel) -> bool:
    """Tell whether a model carries an adapter."""
    return bool(getattr(policy, "_hf_peft_config_loaded", False))


def attach(policy: PreTrainedModel, config: TrainConfig) -> None:
    """Freeze a model and give it a new adapter, which at first changes nothing: B is zero."""
    from peft import LoraConfig

    chosen = config.lora_targets
    targets = "all-linear" if chosen == ("all-linear",) else list(chosen)
    head = next(name for name, module in policy.named_modules() if module is policy.get_output_embeddings())
    if head in chosen:
        raise SettingsError(f"lora_targets names {head}, the language-model head, which is never adapted")
    try:
        policy.add_adapter(
            LoraConfig(
                r=config.lora_rank,
                lora_alpha=config.lora_alpha,
                lora_dropout=0.0,
                target_modules=targets,
                exclude_modules=[head],
                task_type="CAUSAL_LM",
            )
        )
    except ValueError as error:
        names = sorted({name.rpartition(".")[2] for name, module in policy.named_modules() if _is_linear(module)})
        raise SettingsError(
            f"no adapter fits {policy.config.model_type}: {error}",
            hint=f"lora_targets takes all-linear or names among {', '.join(names)}",
        ) from error
    _in_full_precision(policy)


def merge(adapter: Path) -> PreTrainedModel:
    """Open the base of an adapter directory, as it is on disk and in float32, and add the adapter to its weights."""
    from peft import PeftModel

    whole = AutoModelForCausalLM.from_pretrained(base_of(adapter), dtype=torch.float32, local_files_only=True)
    merged: PreTrainedModel = PeftModel.from_pretrained(whole, str(adapter)).merge_and_unload()
    return merged


def _in_full_precision(policy: PreTrainedModel) -> None:
    """Keep what is trained in float32 whatever the base is in: updates are smaller than half precision resolves."""
    for weight in policy.parameters():
        if weight.requires_grad and weight.dtype in (torch.bfloat16, torch.float16):
            weight.data = weight.data.float()


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)
