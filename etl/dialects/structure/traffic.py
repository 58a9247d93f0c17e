"""Which names may be of a model's traffic though no reader of a dialect knows them."""

import re
from functools import lru_cache

from etl.dialects.structure.names import field_of, names_kind, side_of, words_of

READ = re.compile(
    r"""gen_ai\.(?:operation\.name|system|provider\.name|conversation\.id|agent\.\w+|system_instructions|tool\.\w+
    |input\.messages|output\.messages|output\.type|response\.(?:id|model|finish_reasons?)|tool\.call\.\w+
    |request\.(?!tools|functions|available|is_)[\w.]+|usage\.(?:input|output|total|prompt|completion)_tokens
    |usage\.(?:cache|reasoning)[\w.]+|prompt\.\d+\.[\w.]+|completion\.\d+\.[\w.]+|embeddings\.[\w.]+)
    |(?:llm\.(?!messages|prompt$|completion$|input$|output$)|openinference\.|input\.|output\.|tool\.|tag\.
    |metadata$|traceloop\.|spanloop\.|ai\.|mlflow\.|langfuse\.|langsmith\.|gcp\.vertex\.|haystack\.|logfire\.
    |http\.|https\.|url\.|server\.|client\.|net\.|network\.|error\.|exception\.|code\.|thread\.|service\.|user\.
    |openai\.|azure\.|aws\.|telemetry\.|deployment\.|session\.|user_agent\.|peer\.|host\.|db\.|rpc\.|messaging\.)""",
    re.VERBOSE,
)
"""Names that dialects' readers have read, and names that say nothing of models."""


@lru_cache(maxsize=2048)
def has_strange(names: tuple[str, ...]) -> bool:
    """Tell whether names are among these that no reader of a dialect knows, and that may be of model traffic.

    >>> has_strange(("gen_ai.input.messages",)), has_strange(("gen_ai.response.text",)), has_strange(("db.system",))
    (False, True, False)
    """
    return any(READ.match(name) is None and may_tell(name) for name in names)


@lru_cache(maxsize=8192)
def may_tell(name: str) -> bool:
    """Tell whether a name may be of model traffic, a tool or an agent."""
    words = words_of(name)
    return field_of(words) is not None or side_of(words) is not None or names_kind(words) or bool(TRAFFIC & set(words))


TRAFFIC = {"messages", "message", "llm", "prompt", "completion", "tool", "tools", "agent", "model"}
