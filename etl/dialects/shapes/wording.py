"""Puts finish reasons, turns and parameters back into the provider's words where an instrumentation chose its own."""

import re
from typing import Any

from etl.dialects.shapes.gemini import lowered
from etl.dialects.shapes.messages.canonical import join_turns
from etl.dialects.spans import LlmCall, Message

REASONS: dict[str, dict[str, str]] = {
    "chat.completions": {
        "tool_call": "tool_calls",
        "function_calls": "tool_calls",
        "tool-calls": "tool_calls",
        "content-filter": "content_filter",
        "toolUse": "tool_calls",
        "endTurn": "stop",
        "maxTokens": "length",
        "tool_execution": "tool_calls",
    },
    "responses": {
        "tool_call": "completed",
        "tool_calls": "completed",
        "tool-calls": "completed",
        "stop": "completed",
        "length": "incomplete",
    },
    "gemini": {
        "tool_call": "STOP",
        "tool_calls": "STOP",
        "stop": "STOP",
        "length": "MAX_TOKENS",
        "max_tokens": "MAX_TOKENS",
    },
    "messages": {
        "tool_call": "tool_use",
        "tool_calls": "tool_use",
        "tool-calls": "tool_use",
        "stop": "end_turn",
        "length": "max_tokens",
    },
}
"""By API: what the official packages, Traceloop and AutoGen write, and what the provider had said."""

ROUTES = {
    "openai",
    "azure",
    "anthropic",
    "gemini",
    "vertex_ai",
    "bedrock",
    "hosted_vllm",
    "ollama",
    "ollama_chat",
    "mistral",
    "groq",
}
"""LiteLLM's names of providers: what stands before the slash of a model name that is routed through it."""

COMPLETION_LIMIT_SCOPES = ("instrumentation.langchain", "genai.langchain", "agent_framework", "pydantic-ai")
"""Instrumentations of frameworks that send the limit as `max_completion_tokens` and record it as `max_tokens`."""

GEMINI = {"gemini", "gcp.gemini", "gcp.gen_ai", "gcp.vertex_ai", "google", "vertex_ai"}
"""Names of Google's models as a provider: their reasons are in capitals, and a call of a tool is none of them."""

BEDROCK = {"aws.bedrock", "aws_bedrock", "AWS"}
"""Names of Amazon Bedrock as a provider: its reasons are worded as Anthropic's."""

ENUM_PREFIX = "FinishReason."
"""Semantic Kernel writes the enum's member, `FinishReason.TOOL_CALLS`."""


def provider_reason(reason: Any, api: str | None) -> Any:  # noqa: ANN401 - whatever was recorded
    """Return the finish reason as the provider says it.

    >>> provider_reason("tool_call", None), provider_reason("stop", "messages")
    ('tool_calls', 'end_turn')
    """
    if not isinstance(reason, str):
        return None
    if reason.startswith(ENUM_PREFIX):
        reason = reason.removeprefix(ENUM_PREFIX).lower()
    if api == "chat.completions" and reason.isupper():  # Spring AI writes the constant's name
        reason = reason.lower()
    return REASONS.get(api or "chat.completions", {}).get(reason, reason)


MERGING_SCOPES = ("openinference.instrumentation.smolagents",)
"""Instrumentations that record messages before their client makes one of those that follow each other in one role."""


TOOLS = ("tool_calls", "tool_call_id")
"""Keys of messages that are not merged with others."""


def merge_roles(messages: list[Message]) -> list[Message]:
    r"""Return messages as smolagents sends them: what one role says at a stretch is one message, line after line.

    >>> merge_roles([{"role": "user", "text": "4"}, {"role": "user", "text": "So?"}])
    [{'role': 'user', 'text': '4\nSo?'}]
    """
    merged: list[Message] = []
    for message in messages:
        last = merged[-1] if merged else None
        if (
            last is None
            or last["role"] != message["role"]
            or any(one.get(key) for one in (last, message) for key in TOOLS)
        ):
            merged.append(message)
            continue
        texts = [text for text in (last.get("text"), message.get("text")) if text]
        lists = {key: [*last.get(key, ()), *message.get(key, ())] for key in ("media", "parts")}
        merged[-1] = {**last, **{key: value for key, value in lists.items() if value}, "text": "\n".join(texts) or None}
    return merged


def restore_wording(call: LlmCall) -> None:
    """Put a call's finish reasons, turns and parameter names back into the provider's words, in place."""
    if call.input is not None and call.span.scope in MERGING_SCOPES:
        call.input = merge_roles(call.input)
    words = call.api
    if words is None and call.provider in BEDROCK | GEMINI:
        words = "gemini" if call.provider in GEMINI else "messages"
    for message in call.output or ():
        message["finish_reason"] = provider_reason(message["finish_reason"], words)
    call.finish_reasons = [provider_reason(reason, words) for reason in call.finish_reasons]
    is_renamed = call.api == "chat.completions" and call.span.scope.endswith(COMPLETION_LIMIT_SCOPES)
    if is_renamed and "max_tokens" in call.params:
        call.params.setdefault("max_completion_tokens", call.params.pop("max_tokens"))
    if words == "gemini":
        call.tools = lowered(call.tools)
        if "max_tokens" in call.params:
            call.params.setdefault("max_output_tokens", call.params.pop("max_tokens"))
    if call.api != "responses":
        return
    if call.input is not None:
        call.input = join_turns(call.input)
    if "max_tokens" in call.params:
        call.params.setdefault("max_output_tokens", call.params.pop("max_tokens"))


def uncached_usage(usage: dict[str, int | None] | None, cache_write: int | None) -> dict[str, int | None] | None:
    """Return the counts of Anthropic's API as it counts: without what was read from its cache or written to it.

    The conventions and OpenInference have writers add these up.

    >>> uncached_usage({"input_tokens": 13, "cached_input_tokens": 2}, 1)
    {'input_tokens': 10, 'cached_input_tokens': 2}
    """
    if usage is None or usage["input_tokens"] is None:
        return usage
    apart = (usage["cached_input_tokens"] or 0) + (cache_write or 0)
    return {**usage, "input_tokens": usage["input_tokens"] - apart} if apart <= usage["input_tokens"] else usage


def without_thoughts(usage: dict[str, int | None] | None) -> dict[str, int | None] | None:
    """Return the counts of Gemini's API as it counts: thoughts are no part of the answer.

    >>> without_thoughts({"output_tokens": 9, "reasoning_tokens": 1})
    {'output_tokens': 8, 'reasoning_tokens': 1}
    """
    if usage is None or usage["output_tokens"] is None:
        return usage
    thoughts = usage["reasoning_tokens"] or 0
    return (
        {**usage, "output_tokens": usage["output_tokens"] - thoughts} if thoughts <= usage["output_tokens"] else usage
    )


def plain_model(model: str | None) -> str | None:
    """Return a model's name as the provider knows it, for writers that route through LiteLLM.

    >>> plain_model("openai/gpt-4o-mini"), plain_model("meta-llama/Llama-3.1-8B")
    ('gpt-4o-mini', 'meta-llama/Llama-3.1-8B')
    """
    route, _, name = (model or "").partition("/")
    return name if name and route in ROUTES else model


CLIENTS = {
    "ChatOpenAI": "chat.completions",
    "AzureChatOpenAI": "chat.completions",
    "OpenAIChat.": "chat.completions",
    "OpenAIChatCompletionClient": "chat.completions",
    "OpenAIResponses.": "responses",
    "ChatAnthropic": "messages",
}
"""Beginnings of the names that frameworks give spans of their clients, each of which speaks one API."""


def api_of_client(span_name: str) -> str | None:
    """Return the API of the client a span is named after.

    >>> api_of_client("OpenAIChatCompletionClient.create"), api_of_client("chat")
    ('chat.completions', None)
    """
    return next((api for name, api in CLIENTS.items() if span_name.startswith(name)), None)


DATED = re.compile(r"(.+?)-(?:\d{4}-\d{2}-\d{2}|\d{8})$")


def alias_of(model: str | None) -> str | None:
    """Return what a dated model is asked for by.

    >>> alias_of("gpt-4o-mini-2024-07-18"), alias_of("gpt-4o-mini")
    ('gpt-4o-mini', None)
    """
    match = DATED.match(model or "")
    return match.group(1) if match else None


ECHOED_DEFAULTS = (("temperature", 1.0), ("top_p", 1.0), ("tool_choice", "auto"))
"""What a Responses answer says of parameters nobody set."""


def asked_for(params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters an answer's echo of its request proves: those that are not the provider's defaults.

    >>> asked_for({"temperature": 0.2, "top_p": 1.0, "tool_choice": "auto"})
    {'temperature': 0.2}
    """
    return {name: value for name, value in params.items() if (name, value) not in ECHOED_DEFAULTS}


STREAM_NAME = re.compile(r"(?:^|[._])a?stream(?:ing)?(?:$|[._])|(?-i:[a-z]Stream$)", re.IGNORECASE)


def names_a_stream(span_name: str) -> bool:
    """Tell whether a span is named after a client's streaming method.

    >>> [names_a_stream(name) for name in ("OpenAIChat.invoke_stream", "OpenAI.astream_chat", "GenerateContentStream")]
    [True, True, True]
    >>> [names_a_stream(name) for name in ("chat", "upstream.x")]
    [False, False]
    """
    return STREAM_NAME.search(span_name) is not None


OPENAI_MODEL = re.compile(r"(gpt-|chatgpt-|o\d)")


def api_of_model(model: str | None) -> str | None:
    """Return the API a model is known to be served by, where the recording does not say which was called."""
    if OPENAI_MODEL.match(model or ""):
        return "chat.completions"
    return "messages" if (model or "").startswith("claude-") else None
