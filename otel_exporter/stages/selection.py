"""Chooses the spans that tell what an agent did, and all that lie above them.

A program that traces its HTTP server, database and cache has ten spans for each of an agent's. Chosen are calls of
models, agents, tools and retrieval, by whatever names their instrumentation gives them; requests to a model's
endpoint, under which the gateway's own spans hang; whatever was given a reward; and the ancestors of all these.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

PREFIXES = (
    "gen_ai.", "llm.", "openinference.", "traceloop.", "langfuse.", "langsmith.", "mlflow.", "ai.", "agent.",
    "spanloop.", "gcp.vertex.agent.", "pydantic_ai.", "logfire.msg_template", "lk.", "crewai.", "smolagents.",
    "haystack.", "tool.", "retrieval.", "session.id", "rllm.", "agentops.", "genkit:", "mastra.", "input.value",
    "output.value", "model_name",
)  # fmt: skip
"""How names of attributes begin that only spans of agents have."""

_ENDPOINT = re.compile(
    r"/(?:completions|responses|messages|embeddings|rerank|interactions)\b|:(?:stream)?[gG]enerateContent"
)
_URLS = ("url.full", "http.url", "url.path", "http.target")

MAX_MARKED = 20_000
"""Parents that are waited for at most; one that never ends costs nothing else."""
MAX_ASIDE = 2_000
"""Spans that were not chosen and may turn out to be ancestors: a child may end after its parent."""

Key = tuple[int, int]


class Selection:
    """Chooses spans in the order in which they end, which is children first but for what runs on by itself.

    It has no lock: a fork may happen at any time, and each step leaves it right.
    """

    def __init__(self) -> None:
        self._marked: OrderedDict[Key, None] = OrderedDict()
        self._aside: OrderedDict[Key, Any] = OrderedDict()

    def choose(self, spans: Iterable[Any]) -> "list[Any]":
        """Return those of some ended spans that tell of an agent, and ancestors of such that ended before."""
        chosen: list[Any] = []
        for span in spans:
            own = (span.context.trace_id, span.context.span_id)
            if self._marked.pop(own, own) is None or tells_of_an_agent(span):
                chosen.append(span)
                self._mark_parents(span, chosen)
            else:
                self._aside[own] = span
                if len(self._aside) > MAX_ASIDE:
                    self._aside.popitem(last=False)
        return chosen

    def _mark_parents(self, span: Any, chosen: "list[Any]") -> None:  # noqa: ANN401
        while span.parent is not None:
            parent = (span.parent.trace_id, span.parent.span_id)
            above = self._aside.pop(parent, None)
            if above is None:
                self._marked[parent] = None
                if len(self._marked) > MAX_MARKED:
                    self._marked.popitem(last=False)
                return
            chosen.append(above)
            span = above


def tells_of_an_agent(span: Any) -> bool:  # noqa: ANN401
    """Tell whether a span itself is of a model, agent, tool or retrieval, or was judged."""
    attributes = span.attributes or {}
    if any(key.startswith(PREFIXES) for key in attributes):
        return True
    if any(event.name.startswith("gen_ai.") for event in span.events or ()):
        return True
    return any(isinstance(url := attributes.get(name), str) and _ENDPOINT.search(url) for name in _URLS)
