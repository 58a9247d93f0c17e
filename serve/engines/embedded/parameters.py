"""Which parameters of a request the embedded engine honours; every other one is refused where it would mean something.

An answer as if a parameter had not been there would be a wrong answer, so that is decided here for all of them, those
nobody has heard of included: what is neither honoured, nor said not to touch the answer, nor neutral, is refused.
"""

from collections.abc import Mapping
from typing import Any

from serve.engines.embedded import forms
from serve.sampling import UnsupportedParameter

HONOURED = forms.PARAMETERS | frozenset(
    {
        "model", "messages", "prompt", "tools", "temperature", "top_p", "top_k", "min_p", "max_tokens",
        "max_completion_tokens", "seed", "stop", "ignore_eos", "logprobs", "top_logprobs", "n", "stream",
        "stream_options", "return_token_ids", "prompt_logprobs", "add_generation_prompt", "continue_final_message",
        "chat_template_kwargs",
    }
)  # fmt: skip
HONOURED_RESPONSES = forms.PARAMETERS.difference({"response_format"}) | frozenset(
    {
        "model", "input", "instructions", "tools", "temperature", "top_p", "top_k", "min_p", "max_output_tokens",
        "seed", "stop", "ignore_eos", "top_logprobs", "stream", "stream_options", "enable_response_messages",
        "chat_template_kwargs", "text.format",
    }
)  # fmt: skip
"""Of the Responses API, whose `prompt` is another thing than that of plain completions."""

UNTOUCHED = frozenset(
    {
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "request_id", "priority", "cache_salt", "return_tokens_as_token_ids", "include",
        "session_id",
    }
)  # fmt: skip
"""About the request, not about the answer."""

NEUTRAL_ONLY: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "suffix": ("",),
    "echo": (False,),
    "best_of": (1,),
    "min_tokens": (0,),
    "stop_token_ids": ([],),
    "bad_words": ([],),
    "use_beam_search": (False,),
    "length_penalty": (1,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "include_stop_str_in_output": (False,),
    "include_reasoning": (True,),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("auto", "none"),
    "truncation": ("disabled",),
    "background": (False,),
    "text": ({},),
    "text.verbosity": ("medium",),
    "reasoning": ({},),
    "reasoning.summary": ("auto", "concise", "detailed"),
    "reasoning.generate_summary": ("auto", "concise", "detailed"),
}
"""Accepted where they change nothing."""


def check_response_parameters(request: Mapping[str, Any]) -> None:
    """Raise `UnsupportedParameter`, which names it, for the first parameter of a Responses request likewise.

    What is nested is looked at by its full name: `text.format`.
    """
    flat = dict(request)
    for name in ("text", "reasoning"):
        if isinstance(nested := flat.get(name), dict):
            del flat[name]
            flat |= {f"{name}.{inner}": value for inner, value in nested.items()}
    check_parameters(flat, HONOURED_RESPONSES)


def check_parameters(request: Mapping[str, Any], honoured: frozenset[str] = HONOURED) -> None:
    """Raise `UnsupportedParameter`, which names it, for the first parameter that cannot be honoured."""
    for name, value in request.items():
        if value is None or name in honoured or name in UNTOUCHED:
            continue
        neutral = NEUTRAL_ONLY.get(name)
        if neutral is None or not any(
            value == one and isinstance(value, bool) == isinstance(one, bool) for one in neutral
        ):
            raise UnsupportedParameter(
                name, "is not supported by the embedded engine; leave it out, or serve the model with vLLM"
            )
