"""The table of names: what writers call a fact, whoever they are, and which words tell the sides and kinds of spans.

A name is the words of an attribute's whole path, also inside the JSON that its value may be: `llm.usage.promptTokens`,
`gen_ai.usage.prompt_tokens` and `{"usage": {"prompt-tokens": 3}}` under `llm` are the same words. A name stands for the
fact whose longest ending it has, so that `max_output_tokens` is a parameter and `output_tokens` a count. Adding a
producer whose attributes are called otherwise is a line here; `[[etl.dialects]]` in `spanloop.toml` adds to it without
a fork (`etl.dialects.structure.own`).
"""

import re
from enum import StrEnum
from functools import lru_cache

Words = tuple[str, ...]

ENDINGS: dict[str, tuple[str, ...]] = {
    "model_requested": (
        "model",
        "model name",
        "model id",
        "request model",
        "model requested",
        "model metadata model id",
    ),
    "model_returned": (
        "response model",
        "response model name",
        "response model id",
        "response metadata model",
        "model returned",
        "model version",
    ),
    "response_id": ("response id", "completion id", "response message id", "openai request id"),
    "finish_reason": ("finish reason", "finish reasons", "stop reason", "stop reasons", "done reason"),
    "provider": ("provider", "provider name", "ai system", "llm system", "model provider", "vendor"),
    "agent": ("agent name", "lc agent name"),
    "conversation_id": ("session id", "conversation id", "thread id", "chat id"),
    "streamed": ("stream", "is stream", "is streaming", "streaming", "streamed", "request streaming"),
    "input_tokens": (
        "input tokens",
        "prompt tokens",
        "tokens input",
        "tokens prompt",
        "usage input",
        "usage prompt",
        "usage details input",
        "token count prompt",
        "token count input",
        "prompt token count",
        "input token count",
        "prompt eval count",
        "tokens in",
        "in tokens",
    ),
    "output_tokens": (
        "output tokens",
        "completion tokens",
        "generated tokens",
        "tokens output",
        "tokens completion",
        "usage output",
        "usage completion",
        "usage details output",
        "token count completion",
        "token count output",
        "completion token count",
        "output token count",
        "candidates token count",
        "eval count",
        "tokens out",
        "out tokens",
    ),
    "cached_input_tokens": (
        "cached tokens",
        "cached input tokens",
        "input cached tokens",
        "cached prompt tokens",
        "prompt cached tokens",
        "cache read tokens",
        "cache read input tokens",
        "input cache read",
        "prompt details cache read",
        "cached content token count",
        "cached input token count",
    ),
    "reasoning_tokens": (
        "reasoning tokens",
        "reasoning output tokens",
        "output reasoning tokens",
        "completion reasoning tokens",
        "completion details reasoning",
        "thoughts token count",
        "reasoning token count",
    ),
    "tool_name": ("tool name", "tool call name", "function name"),
    "tool_call_id": ("tool call id", "tool id", "function call id", "tool use id"),
    "tool_description": ("tool description",),
    "tool_arguments": (
        "tool arguments",
        "tool args",
        "tool input",
        "tool inputs",
        "tool parameters",
        "tool call arguments",
        "tool call args",
        "tool call input",
        "function arguments",
        "function args",
    ),
    "tool_result": (
        "tool result",
        "tool output",
        "tool response",
        "tool call result",
        "tool call output",
        "tool call response",
        "function result",
        "function output",
    ),
    "temperature": ("temperature",),
    "top_p": ("top p",),
    "top_k": ("request top k", "llm top k", "settings top k", "parameters top k", "params top k", "config top k"),
    "max_tokens": ("max tokens",),
    "max_completion_tokens": ("max completion tokens",),
    "max_output_tokens": ("max output tokens",),
    "seed": ("seed", "random seed"),
    "frequency_penalty": ("frequency penalty",),
    "presence_penalty": ("presence penalty",),
    "stop": ("stop sequences",),
    "tool_choice": ("tool choice",),
    "response_format": ("response format",),
    "system": (
        "system instructions",
        "system instruction",
        "system prompt",
        "system message",
        "instructions",
        "prompt system",
        "system",
        "preamble",
    ),
    "original_length": ("messages original length",),
    "partial": ("response partial", "response is partial"),
    "error": ("error message", "error text", "exception message"),
    "nothing": (  # names that end like another and are not it
        "cache creation input tokens",
        "cache write input tokens",
        "cache creation tokens",
        "cache write tokens",
        "embedding model",
        "max input tokens",
        "audio tokens",
        "prediction tokens",
        "delta tokens",
        "db system",
        "os system",
        "rpc system",
        "file system",
        "messaging system",
        "operating system",
    ),
}
"""By canonical field, the endings of names it goes by."""

COUNTS = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")

NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
INTEGERS = ("top_k", "max_tokens", "max_completion_tokens", "max_output_tokens", "seed")
PARAMS = (*NUMBERS, *INTEGERS, "stop", "tool_choice", "response_format")

ASKED = frozenset(("input", "inputs", "prompt", "prompts", "request", "question", "query", "history", "asked"))
ANSWERED = frozenset(
    (
        "output",
        "outputs",
        "completion",
        "completions",
        "response",
        "responses",
        "answer",
        "result",
        "results",
        "generations",
        "choice",
        "choices",
        "reply",
        "candidates",
        "answered",
    )
)
"""The word nearest to the end of a name that is one of these tells the side of an exchange that a value stands on."""

CONTENT = frozenset(
    ("text", "content", "value", "message", "messages", "json", "data", "raw", "object", "payload", "string", "body")
)
"""Words that may stand after the side's, in the name of the content itself; `output.type` is none."""

KIND_ENDINGS = (
    "kind",
    "type",
    "subtype",
    "operation",
    "operation name",
    "operation id",
    "op",
    "category",
    "role type",
)
NOT_KINDS = frozenset(
    (
        "mime",
        "content",
        "output",
        "error",
        "exception",
        "event",
        "trigger",
        "auth",
        "media",
        "input",
        "agent",
        "message",
        "block",
        "part",
    )
)
"""Words before a `type` that is none of a span's."""


class Kind(StrEnum):
    """What a span says that it is."""

    CALL = "call"
    TOOL = "tool"
    AGENT = "agent"
    EVALUATION = "evaluation"
    EMBEDDING = "embedding"
    OTHER = "other"


KINDS: tuple[tuple[Kind, frozenset[str]], ...] = (
    (
        Kind.OTHER,
        frozenset(
            (
                "step",
                "chunk",
                "chain",
                "workflow",
                "flow",
                "task",
                "retriever",
                "retrieval",
                "rerank",
                "reranker",
                "guardrail",
                "parser",
                "handoff",
                "memory",
                "node",
                "cycle",
                "loop",
                "server",
                "session",
                "processor",
                "turn",
            )
        ),
    ),
    (Kind.EMBEDDING, frozenset(("embedding", "embeddings", "embed"))),
    (Kind.EVALUATION, frozenset(("evaluator", "evaluation", "eval", "scorer", "judge", "evaluate"))),
    (Kind.TOOL, frozenset(("tool", "tools", "function", "toolcall"))),
    (Kind.AGENT, frozenset(("agent", "crew"))),
    (
        Kind.CALL,
        frozenset(
            ("llm", "chat", "completion", "completions", "generation", "generate", "model", "inference", "responses")
        ),
    ),
)
"""Words of a kind; the first kind that has one of a value's words is its kind."""

WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


@lru_cache(maxsize=8192)
def words_of(name: str) -> Words:
    """Return the words of a name, however they are joined.

    >>> words_of("gen_ai.usage.inputTokens")
    ('gen', 'ai', 'usage', 'input', 'tokens')
    """
    return tuple(word.lower() for word in WORD.findall(name))


_FIELDS = {tuple(ending.split()): field for field, endings in ENDINGS.items() for ending in endings}
_LONGEST = max(map(len, _FIELDS))
_KIND_ENDINGS = {tuple(ending.split()) for ending in KIND_ENDINGS}


@lru_cache(maxsize=8192)
def field_of(words: Words) -> str | None:
    """Return the field that a name stands for.

    >>> field_of(("gen", "ai", "request", "max", "output", "tokens")), field_of(("a", "output", "tokens"))
    ('max_output_tokens', 'output_tokens')
    """
    for length in range(min(_LONGEST, len(words)), 0, -1):
        field = _FIELDS.get(words[-length:])
        if field is not None:
            return None if field == "nothing" else field
    return None


@lru_cache(maxsize=8192)
def side_of(words: Words) -> str | None:
    """Return the side of an exchange that a name speaks of: `input`, `output`, or neither.

    >>> side_of(("llm", "response", "input")), side_of(("llm", "messages"))
    ('input', None)
    """
    for word in reversed(words):
        if word in ASKED:
            return "input"
        if word in ANSWERED:
            return "output"
    return None


@lru_cache(maxsize=8192)
def names_content(words: Words) -> bool:
    """Tell whether a name is that of a side's content itself: it ends in the side's word, or in words of content.

    >>> names_content(("output", "value")), names_content(("output", "type"))
    (True, False)
    """
    for word in reversed(words):
        if word in ASKED or word in ANSWERED:
            return True
        if word not in CONTENT and not word.isdigit():
            return False
    return False


@lru_cache(maxsize=8192)
def names_kind(words: Words) -> bool:
    """Tell whether a name is that of a span's kind."""
    is_kind = words[-1:] in _KIND_ENDINGS or words[-2:] in _KIND_ENDINGS
    return is_kind and NOT_KINDS.isdisjoint(words[-2:-1]) and "tool" not in words


@lru_cache(maxsize=4096)
def kind_of(value: str) -> Kind | None:
    """Return the kind that a value names.

    >>> [kind_of(value) for value in ("LLM", "model_generation", "execute_tool", "agent_step", "DEFAULT")]
    [<Kind.CALL: 'call'>, <Kind.CALL: 'call'>, <Kind.TOOL: 'tool'>, <Kind.OTHER: 'other'>, None]
    """
    words = set(words_of(value))
    return next((kind for kind, names in KINDS if not names.isdisjoint(words)), None)
