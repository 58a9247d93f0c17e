"""Texts and conversations as token ids and back, as vLLM's `/tokenize` and `/detokenize` have them."""

from collections.abc import Mapping
from typing import Any

from serve.engines.embedded.answers import read_conversation, read_ids
from serve.engines.embedded.chat import BadConversation
from serve.engines.embedded.models import Sampler, Weights
from serve.engines.embedded.parameters import check_parameters

TOKENIZE = frozenset(
    {
        "model", "prompt", "messages", "tools", "add_special_tokens", "return_token_strs", "add_generation_prompt",
        "continue_final_message", "chat_template_kwargs",
    }
)  # fmt: skip
DETOKENIZE = frozenset({"model", "tokens"})


def tokenize(engine: Sampler, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ids of a text or of a conversation; raise `ValueError` with a message for the client.

    Special tokens a tokenizer adds come with a text unless `add_special_tokens` is false; a conversation has those of
    its template.
    """
    check_parameters(request, TOKENIZE)
    weights = _find(engine, request)
    prompt, adds_special = request.get("prompt"), request.get("add_special_tokens")
    if request.get("messages") is not None:
        if adds_special:
            raise BadConversation("add_special_tokens", "is for a prompt; of messages, the template says what is added")
        ids = read_conversation(engine, request)
    elif isinstance(prompt, str):
        ids = engine.tokenizer.encode(prompt, add_special_tokens=adds_special is None or bool(adds_special))
    else:
        raise BadConversation("prompt", "must be a text, or messages a list")
    answer: dict[str, Any] = {"count": len(ids), "max_model_len": weights.max_length, "tokens": ids}
    strings = engine.tokenizer.convert_ids_to_tokens(ids) if request.get("return_token_strs") else None
    return {**answer, "token_strs": strings}


def detokenize(engine: Sampler, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the text of token ids, special ones included."""
    check_parameters(request, DETOKENIZE)
    ids = read_ids(_find(engine, request), request.get("tokens"), "tokens")
    return {"prompt": engine.tokenizer.decode(ids)}


def _find(engine: Sampler, request: Mapping[str, Any]) -> Weights:
    name = request.get("model")
    return engine.find(engine.names[0] if name is None else name)
