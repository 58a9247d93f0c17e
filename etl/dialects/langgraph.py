"""LangGraph's graphs and nodes, as OpenInference records them: which agent is at work in them.

An agent is a graph with a name, and its answers bear that name. Its node is called "agent" in every prebuilt one.

https://github.com/langchain-ai/langgraph, `create_react_agent`
"""

from typing import Any

from etl.dialects.messages import decode
from etl.dialects.spans import Span
from etl.dialects.values import Attributes, text_of

NAMELESS = "LangGraph"
"""What a graph is called that was given no name."""


def metadata_of(attributes: Attributes) -> dict[str, Any]:
    """Return LangChain's metadata of a run; empty where there is none."""
    metadata = decode(attributes.get("metadata"))
    return metadata if isinstance(metadata, dict) else {}


def is_named_graph(span: Span) -> bool:
    """Tell whether this is the run of a whole graph that was given a name; inside another it is told as its node."""
    metadata = metadata_of(span.attributes)
    is_graph = metadata.get("ls_integration") == "langgraph" and "langgraph_node" not in metadata
    return is_graph and span.name != NAMELESS


def agent_of_node(span: Span) -> str | None:
    """Return the name that the answers of a graph's node bear, where it is one name; else None."""
    if metadata_of(span.attributes).get("langgraph_node") != span.name:
        return None
    output = decode(span.attributes.get("output.value"))
    messages = output.get("messages") if isinstance(output, dict) else None
    fields = [item.get("data") for item in messages or () if isinstance(item, dict) and item.get("type") == "ai"]
    names = {text_of(item, "name") for item in fields if isinstance(item, dict)}
    return names.pop() if len(names) == 1 else None
