"""What is recorded of a checkpoint with every answer it gives."""

from pathlib import Path

from serve.engines.adapters import adapter_base
from serve.evidence.decoding import read_decoder
from serve.evidence.spans import Policy
from train.schema import model_version, tokenizer_digests


def describe_policy(model: Path) -> Policy:
    """Return what spans record of the model in a directory."""
    base = adapter_base(model)
    whole = base or model
    tokenizer, template = tokenizer_digests(whole)
    return Policy(
        model_version(model),
        tokenizer,
        template,
        base=None if base is None else model_version(base),
        decoder=read_decoder(whole, tokenizer),
    )
