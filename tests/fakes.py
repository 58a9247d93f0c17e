"""Small stand-ins that behave: a byte tokenizer and a two-layer model that transformers and vLLM both open."""

import json
from pathlib import Path

CHAT_TEMPLATE = (
    "{%- if tools %}{{ '<|tools|>' }}{%- for tool in tools %}{{ tool.function.name }}{%- endfor %}{{ '<|end|>' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{{ '<|' + message.role + '|>' }}{{ message.content or '' }}"
    "{%- for call in message.tool_calls or [] %}"
    "{{ '<tool_call>' }}{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}"
    "{{ '</tool_call>' }}"
    "{%- endfor %}{{ '<|end|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>' }}{%- endif %}"
)
SPECIAL = (
    "<|end|>",
    "<|pad|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|tool|>",
    "<|tools|>",
    "<tool_call>",
    "</tool_call>",
)
NUM_BYTES = 256
VOCABULARY_SIZE = NUM_BYTES + len(SPECIAL)
END = NUM_BYTES
"""Id of the end-of-turn token."""


def byte_tokenizer(path: Path) -> None:
    """Write a tokenizer with one token a byte and the special tokens of `CHAT_TEMPLATE`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: index for index, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "pad_token": "<|pad|>"}, indent=2
        )
    )
    (path / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def tiny_model(path: Path, *, seed: int = 0, hidden_size: int = 32, scale: float = 0.2) -> Path:
    """Write a model directory with random weights: qwen3, two layers, tied embeddings, float32.

    `scale` is the standard deviation of the weights: at 0.2 the next token is neither certain nor uniform.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    byte_tokenizer(path)
    config = Qwen3Config(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,  # the smallest vLLM's CPU attention takes
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=scale,
        eos_token_id=END,
        pad_token_id=END + 1,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = END
    model.save_pretrained(path)
    return path
